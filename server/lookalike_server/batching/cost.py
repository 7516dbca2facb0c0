"""What a search costs, in rows that a query is compared with: the unit that latency_model.py turns into seconds."""

from __future__ import annotations

from lookalike_indexer.collection.manifest import IndexEntry

# The cost of a neighbor in rows: to find it, to compare it again and to report it.
_NEIGHBOUR = 16
# Rows that a graph compares for each of its efSearch candidates, as many as a node of it has neighbors.
_DEGREE = 64


def of_search(entry: IndexEntry, queries: int, k: int, nprobe: int) -> float:
    """Searching an index for the k nearest; `nprobe` as in Plan."""
    return queries * (_compared(entry, nprobe) + _NEIGHBOUR * k)


def of_scan(rows: int, queries: int, k: int) -> float:
    """Comparing with every stored embedding."""
    return queries * float(rows + _NEIGHBOUR * k)


def _compared(entry: IndexEntry, nprobe: int) -> float:
    """The rows that one query is compared with, centroids included."""
    if not nprobe:
        return entry.rows
    if entry.nlist:
        return entry.nlist + entry.rows * min(1.0, nprobe / entry.nlist)
    return min(entry.rows, _DEGREE * nprobe)
