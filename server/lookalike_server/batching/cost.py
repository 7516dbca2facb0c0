"""Cost estimate of a search, in rows that a query is compared with. latency_model.py converts it to seconds."""

from __future__ import annotations

from lookalike_indexer.collection.manifest import IndexEntry

# Cost of one result in rows: finding, reranking, and reporting it.
_NEIGHBOR = 16
# Rows that a graph compares for each efSearch candidate: as many as a node has neighbors.
_DEGREE = 64


def of_search(entry: IndexEntry, queries: int, k: int, nprobe: int) -> float:
    """Return the cost of searching an index for the k nearest. `nprobe` is as in Plan."""
    return queries * (_compared(entry, nprobe) + _NEIGHBOR * k)


def of_scan(rows: int, queries: int, k: int) -> float:
    """Return the cost of comparing with every stored embedding."""
    return queries * float(rows + _NEIGHBOR * k)


def _compared(entry: IndexEntry, nprobe: int) -> float:
    """Return how many rows, centroids included, one query is compared with."""
    if not nprobe:
        return entry.rows
    if entry.nlist:
        return entry.nlist + entry.rows * min(1.0, nprobe / entry.nlist)
    return min(entry.rows, _DEGREE * nprobe)
