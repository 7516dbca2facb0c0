"""The services of lookalike.v1: each handler checks, asks, and puts the answer into columns."""
