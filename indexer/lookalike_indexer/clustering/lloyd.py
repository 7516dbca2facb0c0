"""k-means of unit vectors on the grid of `numerics.grid`: the same bits on every CPU, with any number of threads.

This is Lloyd's algorithm, started by k-means++ (`seeding.py`). It needs float64 and all vectors in memory, so it is
used for experiments on samples. `kmeans.py` trains the clusterings that a collection stores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float64, Int64
from lookalike_indexer.clustering.distinct import distinct_rows
from lookalike_indexer.clustering.local_search import searchable, searched
from lookalike_indexer.clustering.seeding import starting_rows
from lookalike_indexer.numerics.grid import UNIT_BITS, on_grid, squared_norms

ITERATIONS = 25
# Elements of the largest block of products, points by centroids.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Lloyd:
    """Centroids (k, dim) on the grid, the cluster of each point (n,), and the sum of squared distances between them."""

    centroids: Float64
    clusters: Int64
    inertia: float


def lloyd(points: Float64, k: int, seed: int, *, spherical: bool = False, iterations: int = ITERATIONS) -> Lloyd:
    """Divide n unit vectors (n, dim) on the grid into k <= n groups.

    With `spherical` the centroids stay on the unit sphere (Dhillon and Modha, 2001). Equal distances go to the lower
    cluster. If the points have at most k distinct values, those are the centroids, and the first of them is repeated
    until there are k; the repeated ones are empty.
    """
    few = distinct_rows(points, k)
    if few is not None:
        centroids = np.concatenate([few, np.repeat(few[:1], k - len(few), axis=0)])
        return Lloyd(centroids, *_assigned(points, centroids))
    centroids = points[starting_rows(points, k, seed)]
    clusters, inertia = _assigned(points, centroids)
    for _ in range(iterations):
        updated = _updated(points, centroids, clusters, spherical)
        if np.array_equal(updated, centroids):
            break
        centroids = updated
        clusters, inertia = _assigned(points, centroids)
    return Lloyd(centroids, clusters, inertia)


def best_lloyd(points: Float64, k: int, seed: int, starts: int, *, spherical: bool = False) -> Lloyd:
    """Return the clusters with the least inertia that a local search reaches from several runs, with seeds from `seed`
    on.

    A task that is too large for a local search keeps the best run, the first of equal ones.
    """
    runs = [lloyd(points, k, seed + start, spherical=spherical) for start in range(starts)]
    runs.sort(key=lambda run: run.inertia)
    best = runs[0]
    if best.inertia == 0 or not searchable(len(points), k, points.shape[1]):
        return best
    groups = searched(points, [run.clusters for run in runs], k, spherical=spherical)
    means = groups.sums / np.maximum(groups.sizes, 1)[:, None]
    if spherical:
        means = _unit(means, best.centroids)
    centroids = on_grid(np.where(groups.sizes[:, None] > 0, means, best.centroids), UNIT_BITS)
    return Lloyd(centroids, *_assigned(points, centroids))


def _assigned(points: Float64, centroids: Float64) -> tuple[Int64, float]:
    """Return the nearest centroid of each point, the lower one among equals, and the inertia."""
    clusters = np.empty(len(points), np.int64)
    distances = squared_norms(points)
    lengths = squared_norms(centroids)
    step = max(1, _BLOCK // len(centroids))
    for start in range(0, len(points), step):
        some = slice(start, start + step)
        # |c|^2 - 2 xc: the point's own length does not affect which centroid is nearest.
        scores = points[some] @ centroids.T
        scores *= -2
        scores += lengths
        clusters[some] = scores.argmin(axis=1)
        distances[some] += np.take_along_axis(scores, clusters[some, None], axis=1)[:, 0]
    return clusters, float(distances.sum())


def _updated(points: Float64, centroids: Float64, clusters: Int64, spherical: bool) -> Float64:
    """Return the mean of each cluster's points, on the grid; an empty cluster takes the point farthest from its
    centroid.
    """
    from scipy.sparse import csr_array

    k = len(centroids)
    sizes = np.bincount(clusters, minlength=k)
    members = csr_array((np.ones(len(points)), (clusters, np.arange(len(points)))), shape=(k, len(points)))
    means = (members @ points) / np.maximum(sizes, 1)[:, None]
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        apart = np.square(points - centroids[clusters]).sum(axis=1)
        means[empty] = points[np.argsort(-apart, kind="stable")[: len(empty)]]
    if spherical:
        means = _unit(means, centroids)
    return on_grid(means, UNIT_BITS)


def _unit(means: Float64, otherwise: Float64) -> Float64:
    """Return the means at unit length; for those without direction, the rows of `otherwise`."""
    lengths = np.sqrt(np.square(means).sum(axis=1))[:, None]
    return np.where(lengths > 0, means / np.where(lengths > 0, lengths, 1), otherwise)
