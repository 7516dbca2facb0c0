"""Filters: expressions over what is known of each image, from a text or a tree to a boolean for each image.

    text.py -> tree.py -> meaning.py -> evaluate.py
                          columns.py, sources.py     columns in memory, read when they are first asked for

A filter means what it means in SQL: a comparison with a value that is not there
is neither true nor false, and only images for which the whole is true match.
"""
