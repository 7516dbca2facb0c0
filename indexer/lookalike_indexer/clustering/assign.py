"""Nearest centroid of each vector, independent of the vector's batch.

A float32 search rounds differently with the batch size (faiss even changes its algorithm at 20 queries), so that a
vector between two centroids may go to either of them. Here that search only proposes candidates. Those within its
rounding error are compared again in float64, each row separately, and equal distances go to the lower cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Float64, Int32, Int64
from lookalike_indexer.errors import UsageError
from lookalike_indexer.vectors import rowwise
from lookalike_indexer.vectors.rounding import worst_error

_CANDIDATES = 8
# Elements of the largest block of float64 distances, vectors by centroids.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class AssignedVectors:
    """The assignment of n vectors, all of shape (n,).

    `distances` are Euclidean. `margins` are the distances to the next centroid minus those to the nearest one; infinity
    if there is only one.
    """

    clusters: Int32
    distances: Float32
    margins: Float32


def assign(vectors: Float32, centroids: Float32) -> AssignedVectors:
    """Assign vectors (n, dim) to centroids (k, dim), both finite and prepared for the clustering's metric.

    The result of a row depends only on that vector and the centroids. Raise UsageError if a vector is not finite.
    """
    return Assigner(centroids).assign(vectors)


class Assigner:
    """Assigns many batches to the same centroids, on GPUs if their numbers are given.

    On the CPU it is thread-safe; on GPUs only one thread may use it at a time.
    """

    def __init__(self, centroids: Float32, gpus: Sequence[int] = ()) -> None:
        # Import faiss here: a front process of a server reads stored assignments without computing any.
        import faiss

        from lookalike_indexer.vectors.flat import flat_index

        self._centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        self._norms = rowwise.squared_norms(self._centroids)
        self._longest = float(np.sqrt(self._norms.max()))
        self._index = flat_index(self._centroids.shape[1], faiss.METRIC_L2, gpus)
        self._index.add(self._centroids)

    def assign(self, vectors: Float32) -> AssignedVectors:
        """Assign vectors, see the function `assign`."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        norms = np.sqrt(rowwise.squared_norms(vectors))
        if not np.isfinite(norms).all():
            raise UsageError(
                f"{np.count_nonzero(~np.isfinite(norms))} of {len(vectors)} vectors hold NaN or infinite values "
                "and belong to no cluster."
            )
        if len(self._centroids) == 1 or not len(vectors):
            return self._single(vectors)
        rows, candidates = self._candidates(vectors, norms)
        squared = rowwise.squared_distances(vectors, rows, self._centroids, candidates)
        # Nearest first within each row, the lower cluster first among equals.
        order = np.lexsort((candidates, squared, rows))
        first = np.searchsorted(rows[order], np.arange(len(vectors)))
        best, second = order[first], order[first + 1]
        distances = np.sqrt(squared[best])
        margins = np.sqrt(squared[second]) - distances
        return AssignedVectors(
            candidates[best].astype(np.int32), distances.astype(np.float32), margins.astype(np.float32)
        )

    def nearest(self, vectors: Float32, norms: Float64) -> Int64:
        """Return the clusters (n,) that `assign` finds, int64, without distances and faster.

        `norms` (n,) are the lengths of the vectors (n, dim), all finite.
        """
        if len(self._centroids) == 1 or not len(vectors):
            return np.zeros(len(vectors), np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            found, labels = self._index.search(vectors, 2)
            clear = found[:, 1] - found[:, 0] > 2 * self._error(norms, np.float32)
        clusters: Int64 = labels[:, 0].copy()
        close = np.flatnonzero(~clear)
        if len(close):
            clusters[close] = self.assign(vectors[close]).clusters
        return clusters

    def _single(self, vectors: Float32) -> AssignedVectors:
        rows = np.arange(len(vectors))
        distances = np.sqrt(rowwise.squared_distances(vectors, rows, self._centroids, np.zeros_like(rows)))
        return AssignedVectors(
            np.zeros(len(vectors), np.int32),
            distances.astype(np.float32),
            np.full(len(vectors), np.inf, np.float32),
        )

    def _candidates(self, vectors: Float32, norms: Float64) -> tuple[Int64, Int64]:
        """Return pairs of a row and a centroid, including all that may be its nearest or second nearest."""
        width = min(_CANDIDATES, len(self._centroids))
        with np.errstate(over="ignore", invalid="ignore"):
            found, labels = self._index.search(vectors, width)
            limits = found[:, 1] + 2 * self._error(norms, np.float32)
            near = found <= limits[:, None]
            # The search is sufficient if it returned all centroids, or if its last one is clearly too far.
            known = (labels >= 0).all(axis=1) & np.isfinite(limits)
            if width < len(self._centroids):
                known &= found[:, -1] > limits
        rows, columns = np.nonzero(near & known[:, None])
        more_rows, more = self._thorough_candidates(vectors, norms, np.flatnonzero(~known))
        return np.concatenate([rows, more_rows]), np.concatenate([labels[rows, columns], more])

    def _thorough_candidates(self, vectors: Float32, norms: Float64, rows: Int64) -> tuple[Int64, Int64]:
        """Return such pairs by comparing all centroids in float64, for rows that the quick search leaves undecided."""
        found: list[tuple[Int64, Int64]] = []
        step = max(1, _BLOCK // len(self._centroids))
        centroids = self._centroids.astype(np.float64) if len(rows) else np.empty((0, 0))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            products = vectors[block].astype(np.float64) @ centroids.T
            squared = np.square(norms[block])[:, None] + self._norms - 2 * products
            second = np.partition(squared, 1, axis=1)[:, 1]
            limits = second + 2 * self._error(norms[block], np.float64)
            local, clusters = np.nonzero(squared <= limits[:, None])
            found.append((block[local], clusters))
        empty = np.empty(0, np.int64)
        return (
            np.concatenate([empty, *(pair[0] for pair in found)]),
            np.concatenate([empty, *(pair[1] for pair in found)]),
        )

    def _error(self, norms: Float64, dtype: npt.DTypeLike) -> Float64:
        """Return the error bound of a squared distance computed as |x|^2 + |c|^2 - 2xc in this type."""
        return worst_error(self._centroids.shape[1] + 8, norms + self._longest, dtype)
