"""Clustering strategies other than k-means and spherical k-means.

Each takes vectors (n, dim), a number of clusters k <= n, and a k-means function. Each returns centroids (k, dim): every
vector belongs to the nearest of them, see `assignment_rule.py`. Whitened k-means is k-means of whitened vectors, see
`whitening.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.errors import UsageError
from lookalike_indexer.numerics.grid import on_grid, squared_distances, unit_scale
from lookalike_indexer.numerics.variation import all_equal
from lookalike_indexer.vectors.sample import choose_rows

# Maps vectors (n, dim) and k <= n to centroids (k, dim).
KMeans = Callable[[Float32, int], Float32]

# Ward's method compares all pairs: 8 bytes for each.
MOST_PAIRED: Final = 4000
# The centroid of a smaller group represents the images that were not compared poorly.
_FEWEST_PAIRED: Final = 4


@dataclass(frozen=True)
class _Group:
    """Some rows, their mean, and the sum of squared distances to it; 0 if the rows are all alike."""

    rows: Int64
    centroid: Float64
    inertia: float


def bisecting(vectors: Float32, k: int, kmeans: KMeans) -> Float32:
    """Run bisecting k-means (Steinbach, Karypis, Kumar, 2000): halve the group with the most inertia until there are k.

    If fewer than k groups can be distinguished, the first centroid is repeated. Ties go to the lower cluster, so that
    the repeated ones stay empty.
    """
    groups = [_group(vectors, np.arange(len(vectors)))]
    while len(groups) < k:
        place = max(range(len(groups)), key=lambda number: groups[number].inertia)
        if groups[place].inertia <= 0:
            break
        groups[place : place + 1] = _halves(vectors, groups[place], kmeans)
    centroids = np.stack([group.centroid for group in groups]).astype(np.float32)
    return np.concatenate([centroids, np.repeat(centroids[:1], k - len(groups), axis=0)])


def check_paired(images: int, k: int) -> None:
    """Raise UsageError if agglomerative clustering of these images, or a sample, compares too few for k clusters."""
    most = MOST_PAIRED // _FEWEST_PAIRED
    if images > MOST_PAIRED and k > most:
        raise UsageError(
            f"--strategy agglomerative compares all pairs of {MOST_PAIRED:,} images, too few for {k:,} clusters: "
            f"give at most --clusters {most}, or --strategy bisecting."
        )


def agglomerative(vectors: Float32, k: int, seed: int) -> Float32:
    """Return the means of the k groups of Ward's method (1963) on the vectors, or on a sample of MOST_PAIRED of them.

    Raise UsageError as `check_paired` does.
    """
    check_paired(len(vectors), k)
    some = vectors[np.sort(choose_rows(len(vectors), MOST_PAIRED, seed))]
    return _means(some, _ward(some, k), k)


def _group(vectors: Float32, rows: Int64) -> _Group:
    # Copies of an image differ by rounding, which must not separate them.
    some = vectors[rows]
    centroid = some.mean(axis=0, dtype=np.float64)
    if all_equal(some):
        return _Group(rows, centroid, 0.0)
    distances = assign(some, centroid[None].astype(np.float32)).distances
    return _Group(rows, centroid, float(np.square(distances, dtype=np.float64).sum()))


def _halves(vectors: Float32, group: _Group, kmeans: KMeans) -> list[_Group]:
    """Return the two halves of a group; or the group itself, with inertia 0, if it cannot be divided."""
    some = vectors[group.rows]
    clusters = assign(some, kmeans(some, 2)).clusters
    sides = [group.rows[clusters == side] for side in (0, 1)]
    if not all(len(side) for side in sides):
        return [_Group(group.rows, group.centroid, 0.0)]
    return [_group(vectors, side) for side in sides]


def _ward(vectors: Float32, k: int) -> Int64:
    """Return the group (n,) of each vector, numbered in the order of their first members."""
    from scipy.cluster.hierarchy import linkage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial.distance import squareform

    count = len(vectors)
    if count == k:
        return np.arange(count)
    points = on_grid(vectors * unit_scale(float(np.linalg.norm(vectors, axis=1).max())))
    apart = np.sqrt(squared_distances(points))
    np.fill_diagonal(apart, 0)
    merges = linkage(squareform(apart, checks=False), "ward")[: count - k, :2].astype(np.int64)
    into = count + np.arange(len(merges))
    pairs = (merges.ravel(), np.repeat(into, 2))
    size = count + len(merges)
    tree = coo_array((np.ones(len(pairs[0])), pairs), shape=(size, size))
    groups = connected_components(tree, directed=False)[1][:count]
    _, first, named = np.unique(groups, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    found: Int64 = order[named]
    return found


def _means(vectors: Float32, groups: Int64, k: int) -> Float32:
    from scipy.sparse import csr_array

    sizes = np.bincount(groups, minlength=k)
    members = csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(k, len(groups)))
    means: Float32 = ((members @ vectors.astype(np.float64)) / sizes[:, None]).astype(np.float32)
    return means
