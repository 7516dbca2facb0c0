"""Number of queries from which faiss uses matrix products: a global setting of faiss, not of an index or a call."""

from __future__ import annotations

import faiss

# faiss's default, counted in values of all queries. Earlier releases counted the queries: 20.
_USUAL = 128_000
# The number of queries from which OpenBLAS products are faster than one query at a time, in one thread, for any
# dimension.
_QUERIES = 5

_chosen = 0


def multiply_from_few(dim: int, threads: int) -> None:
    """Let `threads` compare few queries of `dim` dimensions by matrix products.

    faiss's default begins at 63 queries of 2048 dimensions, which suits machines with many threads that each take one
    query. With several dimensions the largest one decides: the others use the previous method up to larger batches.
    """
    global _chosen
    if faiss.cvar.distance_compute_blas_threshold not in (_USUAL, _chosen):
        # Another release, which may count differently, or a setting of the user.
        return
    _chosen = min(_USUAL, max(_chosen, _QUERIES * dim * threads))
    faiss.cvar.distance_compute_blas_threshold = _chosen
