"""From how many queries on faiss compares by matrix products: a setting of all of faiss, not of an index or a call."""

from __future__ import annotations

import faiss

# What faiss comes with, counted in values of all queries. Earlier releases counted the queries: 20.
_USUAL = 128_000
# Where products of OpenBLAS overtake comparing one query after the other in one thread, whatever their dimension.
_QUERIES = 5

_chosen = 0


def multiply_from_few(dim: int, threads: int) -> None:
    """Let `threads` compare few queries of `dim` dimensions by matrix products, too.

    By itself, faiss does so from 63 queries of 2048 dimensions on, which suits
    machines where each of many threads takes one of them. Of several dimensions
    the largest counts: the others are compared as before for longer.
    """
    global _chosen
    if faiss.cvar.distance_compute_blas_threshold not in (_USUAL, _chosen):
        # Another release, which may count otherwise, or a choice of who runs this.
        return
    _chosen = min(_USUAL, max(_chosen, _QUERIES * dim * threads))
    faiss.cvar.distance_compute_blas_threshold = _chosen
