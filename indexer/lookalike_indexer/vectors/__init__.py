"""Arithmetic of vectors: metrics, products row by row, rounding errors, exact search, samples.

Clustering, indexing, the graph and the server build on it. It builds on the collection alone.
"""
