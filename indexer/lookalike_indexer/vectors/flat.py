"""Flat faiss index on the CPU or on GPUs, used by k-means and by assignment to centroids."""

from __future__ import annotations

from collections.abc import Sequence

import faiss


def flat_index(dim: int, metric: int, gpus: Sequence[int] = ()) -> faiss.Index:
    """Return an empty flat index; on the GPUs with these numbers if any are given.

    With several GPUs each holds a copy and takes a share of the queries. `metric` is faiss's number.
    """
    index = faiss.IndexFlat(dim, metric)
    return faiss.index_cpu_to_gpus_list(index, gpus=list(gpus)) if gpus else index
