"""Ways to divide vectors into k groups, each a function of the vectors and a seed.

All are those of scikit-learn and faiss. What runs in several threads adds up
in an order that may differ from run to run, so scikit-learn gets one thread;
faiss gives each centroid to one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import faiss
import numpy as np
from sklearn.cluster import AgglomerativeClustering, BisectingKMeans, kmeans_plusplus
from sklearn.decomposition import PCA
from sklearn.random_projection import GaussianRandomProjection
from threadpoolctl import threadpool_limits

from lookalike_indexer.clustering.assign import Assigned, assign
from lookalike_indexer.experiments.view import Float32, Int32
from lookalike_indexer.indexing.metric import prepare

# From L2-normalised vectors (n, dim), the number of groups k and a seed to the group of each vector, int32 (n,).
Partition = Callable[[Float32, int, int], Int32]

_ITERATIONS = 25
_STARTS = 10
# Many centroids spread their starts better by themselves, and cost more: starts times centroids are at most this.
_STARTED = 1000
_PROJECTED_DIMS = 64
# Ward's method compares all pairs: it works on this many groups for each one that is wanted.
_MICRO = 10
_MOST_MICRO = 2000


def kmeans_once(vectors: Float32, k: int, seed: int, spherical: bool = False) -> tuple[Float32, Assigned]:
    """One k-means of vectors (n, dim), n >= k: centroids (k, dim), and the assignment.

    The start is that of k-means++ (Arthur, Vassilvitskii, 2007) by
    scikit-learn, chosen in a random projection to 64 dimensions, which keeps
    what k-means looks at (Boutsidis, Zouzias, Drineas, 2010) and is much
    quicker; 25 iterations of faiss follow. With `spherical` the centroids are
    kept on the unit sphere (Dhillon, Modha, 2001).
    """
    with threadpool_limits(1):
        _, start = kmeans_plusplus(_projected(vectors, seed), k, random_state=seed)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=_ITERATIONS,
        seed=seed % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=2**31 - 1,
    )
    kmeans.cp.spherical = spherical
    kmeans.train(vectors, init_centroids=vectors[start])
    return kmeans.centroids, assign(vectors, kmeans.centroids)


def _projected(vectors: Float32, seed: int) -> Float32:
    if vectors.shape[1] <= _PROJECTED_DIMS:
        return vectors
    projected: Float32 = GaussianRandomProjection(_PROJECTED_DIMS, random_state=seed).fit_transform(vectors)
    return projected


def inertia(assigned: Assigned) -> float:
    """The sum of squared distances to the centroids."""
    return float(np.square(assigned.distances, dtype=np.float64).sum())


def best_kmeans(vectors: Float32, k: int, seed: int, spherical: bool = False) -> tuple[Float32, Assigned]:
    """The one of ten runs of `kmeans_once` with the least inertia; of fewer runs for more than 100 groups."""
    starts = max(1, min(_STARTS, _STARTED // k))
    runs = [kmeans_once(vectors, k, seed + start, spherical) for start in range(starts)]
    return min(runs, key=lambda run: inertia(run[1]))


def kmeans(vectors: Float32, k: int, seed: int) -> Int32:
    """k-means, the best of up to ten starts."""
    return best_kmeans(vectors, k, seed)[1].clusters


def spherical(vectors: Float32, k: int, seed: int) -> Int32:
    """Spherical k-means, the best of up to ten starts."""
    return best_kmeans(vectors, k, seed, spherical=True)[1].clusters


def bisecting(vectors: Float32, k: int, seed: int) -> Int32:
    """Bisecting k-means (Steinbach, Karypis, Kumar, 2000): halves the group with the most inertia until there are k."""
    model = BisectingKMeans(k, random_state=seed, n_init=3, bisecting_strategy="biggest_inertia")
    with threadpool_limits(1):
        clusters: Int32 = model.fit_predict(vectors).astype(np.int32)
    return clusters


def agglomerative(vectors: Float32, k: int, seed: int) -> Int32:
    """Ward's method (1963) on the centroids of a finer k-means; a vector goes where its centroid goes."""
    finer = max(k, min(_MICRO * k, _MOST_MICRO, len(vectors) // 2))
    centroids, assigned = kmeans_once(vectors, finer, seed)
    merged = AgglomerativeClustering(k, linkage="ward").fit_predict(centroids)
    groups: Int32 = merged[assigned.clusters].astype(np.int32)
    return groups


def whitened(vectors: Float32, k: int, seed: int) -> Int32:
    """k-means of the first k principal components, each scaled to the same variance, then L2-normalised.

    Scaling makes all directions equally important, those of mere noise too, so
    few are kept: the centroids of k groups differ in at most k - 1.
    """
    kept = min(k, vectors.shape[1], len(vectors) - 1)
    reduced = PCA(kept, whiten=True, random_state=seed).fit_transform(vectors)
    return kmeans(prepare(reduced, "cosine"), k, seed)


STRATEGIES: Final[dict[str, Partition]] = {
    "kmeans": kmeans,
    "spherical": spherical,
    "bisecting": bisecting,
    "agglomerative": agglomerative,
    "whitened": whitened,
}
