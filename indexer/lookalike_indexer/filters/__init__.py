"""Filters: expressions over the columns of images, from a text or a tree to a boolean for each image.

    text.py -> tree.py -> meaning.py -> evaluate.py
    columns.py, sources.py     columns in memory, read on demand; texts.py has their strings
    write_text.py              tree -> text
    errors.py                  errors with their position

A filter has the semantics of SQL: a comparison with a missing value is neither true nor false, and only images for
which the whole expression is true match.
"""
