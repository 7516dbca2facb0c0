"""Preparation of vectors and distances for a metric, for faiss and for display."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import rowwise


def prepare(vectors: npt.NDArray[Any], metric: Metric) -> Float32:
    """Return vectors of shape (n, dim) in the form of an index of this metric: float32, C-contiguous.

    For cosine they are L2-normalized; a zero vector stays zero. For l2 they are unchanged, and the same array is
    returned if it is already float32 and contiguous. The caller's array is never modified. The result of a row does not
    depend on other rows; one that is not finite stays so.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    return rows if metric == "l2" else rowwise.normalized(rows)


def faiss_metric(metric: Metric) -> int:
    """Return faiss's number of the metric: cosine is the inner product of normalized vectors."""
    # Import faiss here: a front process of a server prepares vectors without searching.
    import faiss

    number: int = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    return number


def to_distances(scores: npt.NDArray[Any], metric: Metric) -> Float32:
    """Convert the scores of a faiss index of this metric to distances, float32, never negative.

    Cosine: 1 - inner product. l2: the square root of faiss's squared distance. Places that faiss could not fill become
    infinity.
    """
    unfilled = np.abs(scores) >= np.finfo(np.float32).max
    distances = np.maximum(1 - scores if metric == "cosine" else scores, 0)
    if metric == "l2":
        distances = np.sqrt(distances)
    return np.where(unfilled, np.float32(np.inf), distances).astype(np.float32, copy=False)
