"""Ways to divide vectors into k groups, each a function of the vectors and a seed.

k-means is our own (see `clustering.lloyd`), the others are those of
scikit-learn, which gets one thread: several add up in an order that may differ
from run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from sklearn.cluster import AgglomerativeClustering, BisectingKMeans
from sklearn.decomposition import PCA

from lookalike_indexer.clustering.assign import Assigned, assign
from lookalike_indexer.clustering.lloyd import Lloyd, best_lloyd, lloyd
from lookalike_indexer.experiments.view import Float32, Int32
from lookalike_indexer.indexing.metric import prepare
from lookalike_indexer.numerics.grid import on_grid
from lookalike_indexer.numerics.steady import one_thread
from lookalike_indexer.numerics.varied import NEGLIGIBLE

# From L2-normalised vectors (n, dim), the number of groups k and a seed to the group of each vector, int32 (n,).
Partition = Callable[[Float32, int, int], Int32]

_STARTS = 10
# Many centroids spread their starts better by themselves, and cost more: starts times centroids are at most this.
_STARTED = 1000
# Ward's method compares all pairs: it works on this many groups for each one that is wanted.
_MICRO = 10
_MOST_MICRO = 2000


def kmeans_once(vectors: Float32, k: int, seed: int, spherical: bool = False) -> tuple[Float32, Assigned]:
    """One k-means of unit vectors (n, dim), n >= k: centroids (k, dim), and the assignment; see `clustering.lloyd`."""
    return _centred(vectors, lloyd(on_grid(vectors), k, seed, spherical=spherical))


def _centred(vectors: Float32, found: Lloyd) -> tuple[Float32, Assigned]:
    centroids = found.centroids.astype(np.float32)
    return centroids, assign(vectors, centroids)


def inertia(assigned: Assigned) -> float:
    """The sum of squared distances to the centroids."""
    return float(np.square(assigned.distances, dtype=np.float64).sum())


def best_kmeans(vectors: Float32, k: int, seed: int, spherical: bool = False) -> tuple[Float32, Assigned]:
    """The one of ten runs of `kmeans_once` with the least inertia; of fewer runs for more than 100 groups."""
    starts = max(1, min(_STARTS, _STARTED // k))
    return _centred(vectors, best_lloyd(on_grid(vectors), k, seed, starts, spherical=spherical))


def kmeans(vectors: Float32, k: int, seed: int) -> Int32:
    """k-means, the best of up to ten starts."""
    return best_kmeans(vectors, k, seed)[1].clusters


def spherical(vectors: Float32, k: int, seed: int) -> Int32:
    """Spherical k-means, the best of up to ten starts."""
    return best_kmeans(vectors, k, seed, spherical=True)[1].clusters


def bisecting(vectors: Float32, k: int, seed: int) -> Int32:
    """Bisecting k-means (Steinbach, Karypis, Kumar, 2000): halves the group with the most inertia until there are k."""
    model = BisectingKMeans(k, random_state=seed, n_init=3, bisecting_strategy="biggest_inertia")
    with one_thread():
        clusters: Int32 = model.fit_predict(vectors).astype(np.int32)
    return clusters


def agglomerative(vectors: Float32, k: int, seed: int) -> Int32:
    """Ward's method (1963) on the centroids of a finer k-means; a vector goes where its centroid goes."""
    finer = max(k, min(_MICRO * k, _MOST_MICRO, len(vectors) // 2))
    centroids, assigned = kmeans_once(vectors, finer, seed)
    with one_thread():
        merged = AgglomerativeClustering(k, linkage="ward").fit_predict(centroids)
    groups: Int32 = merged[assigned.clusters].astype(np.int32)
    return groups


def whitened(vectors: Float32, k: int, seed: int) -> Int32:
    """k-means of the first k principal components, each scaled to the same variance, then L2-normalised.

    Scaling makes all directions equally important, those of mere noise too, so
    few are kept: the centroids of k groups differ in at most k - 1.
    """
    kept = min(k, vectors.shape[1], len(vectors) - 1)
    with one_thread():
        model = PCA(kept, random_state=seed)
        reduced = model.fit_transform(vectors.astype(np.float64))
    # Dividing by the deviation of a component that has none would make noise as important as all else.
    deviations = np.sqrt(model.explained_variance_)
    some = deviations > NEGLIGIBLE * deviations.max()
    if not some.any():
        return np.zeros(len(vectors), np.int32)
    return kmeans(prepare(reduced[:, some] / deviations[some], "cosine"), k, seed)


STRATEGIES: Final[dict[str, Partition]] = {
    "kmeans": kmeans,
    "spherical": spherical,
    "bisecting": bisecting,
    "agglomerative": agglomerative,
    "whitened": whitened,
}
