"""What a metric means for vectors, for faiss, and for the distances that people see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import rowwise


def prepare(vectors: npt.NDArray[Any], metric: Metric) -> Float32:
    """Vectors of shape (n, dim) as an index of this metric holds them: float32, C-contiguous.

    For cosine they are L2-normalised; a zero vector stays zero. For l2 they
    are as they were, and the same array comes back when it already is float32
    and contiguous. The caller's array is never written to. What becomes of a
    row does not depend on the rows around it; one that is not finite stays so.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if metric == "l2":
        return rows
    norms = np.sqrt(rowwise.squared_norms(rows))
    norms[norms == 0] = 1
    with np.errstate(invalid="ignore"):
        return np.divide(rows, norms[:, None], out=np.empty_like(rows), casting="same_kind")


def faiss_metric(metric: Metric) -> int:
    """The metric as faiss numbers it: cosine is the inner product of normalized vectors."""
    # Here, since a front of a server prepares vectors and searches nothing.
    import faiss

    number: int = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    return number


def to_distances(scores: npt.NDArray[Any], metric: Metric) -> Float32:
    """What a faiss index of this metric returned, as distances, float32, never negative.

    Cosine: 1 - inner product. l2: the square root of faiss's squared distance.
    The places that faiss could not fill become infinity.
    """
    unfilled = np.abs(scores) >= np.finfo(np.float32).max
    distances = np.maximum(1 - scores if metric == "cosine" else scores, 0)
    if metric == "l2":
        distances = np.sqrt(distances)
    return np.where(unfilled, np.float32(np.inf), distances).astype(np.float32, copy=False)
