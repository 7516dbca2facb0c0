"""Queries of a call as vectors of one space, new images of a change, and reloading of generations.

queries.py        queries of every kind as vectors
query_vectors.py  result of that, with the rows that failed
distinct.py       distinct items of a call
examples.py       queries moved by examples and counterexamples
upserts.py        vectors and attributes of images to add
reload.py         follows the collection and swaps in new generations
"""
