"""Filters of calls: parsing, matching, and caching; values of columns in replies.

    reading.py      parsing of a Filter message
    matching.py     images that match a filter
    match_cache.py  LRU cache of matches
    attributes.py   values of columns in a reply

The filter language itself is lookalike_indexer.filters, which also filters a collection without a
server.
"""
