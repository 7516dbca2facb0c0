"""Filters of calls: from the wire to the images that match, and values of columns back to the wire.

The language itself is lookalike_indexer.filters, which reads a folder as well.
"""
