"""Partitions of vectors into k groups by different strategies, each a function of the vectors and a seed.

These are the strategies of `lookalike cluster` (see `clustering.strategies`) with its rule: a vector belongs to the
nearest centroid. Their k-means is that of `clustering.lloyd`, which gives the same bits on every CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from lookalike_indexer.arrays import Float32, Int32
from lookalike_indexer.clustering import strategies
from lookalike_indexer.clustering.assign import AssignedVectors, assign
from lookalike_indexer.clustering.lloyd import Lloyd, best_lloyd, lloyd
from lookalike_indexer.clustering.whitening import fit_whitening
from lookalike_indexer.numerics.grid import on_grid

# Maps L2-normalized vectors (n, dim), the number of groups k and a seed to the group of each vector, int32 (n,).
Partition = Callable[[Float32, int, int], Int32]

_STARTS = 10
# Many centroids spread their starts better by themselves, and cost more: starts times centroids are at most this.
_STARTED = 1000
# The starts of each halving: later halvings can correct a poor one.
_HALVED = 3


def kmeans_once(vectors: Float32, k: int, seed: int, spherical: bool = False) -> tuple[Float32, AssignedVectors]:
    """Run k-means once on unit vectors (n, dim), n >= k; return centroids (k, dim) and the assignment. See
    `clustering.lloyd`.
    """
    return _centered(vectors, lloyd(on_grid(vectors), k, seed, spherical=spherical))


def _centered(vectors: Float32, found: Lloyd) -> tuple[Float32, AssignedVectors]:
    centroids = found.centroids.astype(np.float32)
    return centroids, assign(vectors, centroids)


def inertia(assigned: AssignedVectors) -> float:
    """Return the sum of squared distances to the centroids."""
    return float(np.square(assigned.distances, dtype=np.float64).sum())


def best_kmeans(vectors: Float32, k: int, seed: int, spherical: bool = False) -> tuple[Float32, AssignedVectors]:
    """Return the best of ten runs of `kmeans_once` after a local search; of fewer runs for more than 100 groups."""
    starts = max(1, min(_STARTS, _STARTED // k))
    return _centered(vectors, best_lloyd(on_grid(vectors), k, seed, starts, spherical=spherical))


def kmeans(vectors: Float32, k: int, seed: int) -> Int32:
    """Return the groups of k-means, the best of up to ten starts."""
    return best_kmeans(vectors, k, seed)[1].clusters


def spherical(vectors: Float32, k: int, seed: int) -> Int32:
    """Return the groups of spherical k-means, the best of up to ten starts."""
    return best_kmeans(vectors, k, seed, spherical=True)[1].clusters


def bisecting(vectors: Float32, k: int, seed: int) -> Int32:
    """Return the groups of bisecting k-means, each halving the best of three starts."""

    def halved(some: Float32, two: int) -> Float32:
        return best_lloyd(on_grid(some), two, seed, _HALVED).centroids.astype(np.float32)

    return assign(vectors, strategies.bisecting(vectors, k, halved)).clusters


def agglomerative(vectors: Float32, k: int, seed: int) -> Int32:
    """Return the groups of Ward's method on at most 4,000 of the vectors.

    Raise UsageError if these are too few for k.
    """
    return assign(vectors, strategies.agglomerative(vectors, k, seed)).clusters


def whitened(vectors: Float32, k: int, seed: int) -> Int32:
    """Return the groups of k-means of k whitened principal components. Raise UsageError if all vectors are alike."""
    return kmeans(fit_whitening(vectors, k).apply(vectors), k, seed)


STRATEGIES: Final[dict[str, Partition]] = {
    "kmeans": kmeans,
    "spherical": spherical,
    "bisecting": bisecting,
    "agglomerative": agglomerative,
    "whitened": whitened,
}
