"""Euclidean distances that do not depend on the batch.

faiss compares 20 and more queries at once as |x|^2 + |y|^2 - 2xy, as GPUs
always do. For near duplicates that is a small difference of large numbers: at
a norm of 36, a true distance of 0.005 comes out as 0 or as 0.02. A flat index
has the vectors at hand, so those that were found are compared again.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.rowwise import squared_distances

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


def needs_refining(index: Any, metric: Metric) -> bool:
    """Whether the index computes distances so, and holds the vectors as they are."""
    if not isinstance(index, faiss.Index):
        return False
    traits = describe(index)
    return metric == "l2" and traits.kind == "flat" and traits.lossless


def refined(index: faiss.Index, queries: Float32, rows: Int64) -> Float32:
    """The distances of queries (n, dim) to the rows (n, k) that were found for each; infinity for row -1."""
    distances = np.full(rows.shape, np.inf, np.float32)
    for line, found in enumerate(rows):
        there = np.flatnonzero(found >= 0)
        # One query at a time: k vectors of 2048 are 8 MB at k = 1000.
        vectors = index.reconstruct_batch(found[there])
        squared = squared_distances(queries, np.full(len(there), line), vectors, np.arange(len(there)))
        distances[line, there] = np.sqrt(squared)
    return distances
