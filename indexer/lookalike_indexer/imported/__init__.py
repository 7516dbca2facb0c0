"""Embeddings that people already have, as a space of a collection: with its pictures, or without any."""
