"""Quality of a partition of vectors, by scikit-learn; NaN if a measure is not defined.

The silhouette uses the metric of the space, see `collection.metrics`. The measures of Davies and Bouldin, and of
Calinski and Harabasz, are defined by Euclidean distances to centroids, as k-means is.

`silhouette` is the same on every CPU. `davies_bouldin` and `calinski_harabasz` do not depend on the number of threads.
Between CPUs they agree to a relative 1e-6.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.numerics.grid import on_grid, squared_distances
from lookalike_indexer.numerics.single_thread import one_thread

Groups = npt.NDArray[np.integer]
_NAN = float("nan")


def distances_between(vectors: Float32, metric: Metric) -> Float32:
    """Return the distances between all pairs of vectors (n, dim) of `Sampled`: (n, n); Euclidean ones in its unit.

    For unit vectors, half the squared Euclidean distance is the cosine distance.
    """
    apart = squared_distances(on_grid(vectors))
    return (np.sqrt(apart, out=apart) if metric == "l2" else apart / 2).astype(np.float32)


def silhouette(distances: Float32, groups: Groups) -> float:
    """Return the mean silhouette (Rousseeuw, 1987), from the distances of all pairs (n, n)."""
    return float(silhouette_score(distances, groups, metric="precomputed")) if _defined(groups) else _NAN


def davies_bouldin(vectors: Float32, groups: Groups) -> float:
    """Return the index of Davies and Bouldin (1979): lower is better."""
    if not _defined(groups):
        return _NAN
    with one_thread():
        return float(davies_bouldin_score(vectors.astype(np.float64), groups))


def calinski_harabasz(vectors: Float32, groups: Groups) -> float:
    """Return the index of Calinski and Harabasz (1974): higher is better."""
    if not _defined(groups):
        return _NAN
    with one_thread():
        return float(calinski_harabasz_score(vectors.astype(np.float64), groups))


def _defined(groups: Groups) -> bool:
    """Return False if all are in one group, or each is in its own."""
    return 1 < len(np.unique(groups)) < len(groups)
