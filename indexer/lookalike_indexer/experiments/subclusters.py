"""k-means of the images of one class, and the quality of the split."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int32
from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.lloyd import best_lloyd
from lookalike_indexer.clustering.metric_distances import in_metric
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.experiments.partition_quality import distances_between
from lookalike_indexer.experiments.space_sample import fitted
from lookalike_indexer.numerics.grid import on_grid
from lookalike_indexer.numerics.variation import all_equal
from lookalike_indexer.vectors.sample import choose_rows

# The number of images whose silhouettes are measured: all pairs of them.
MEASURED = 2_000
_RESTARTS = 10


@dataclass(frozen=True)
class Split:
    """k sub-clusters, the largest first: of n images their sub-cluster, distance, silhouette (NaN: not measured).

    Distances use the metric of the space; `centroids` (k, dim) are prepared for it. `inertia` is the sum of squared
    Euclidean distances.
    """

    centroids: Float32
    clusters: Int32
    distances: Float32
    silhouettes: Float32
    inertia: float

    @property
    def k(self) -> int:
        return len(self.centroids)

    @property
    def silhouette(self) -> float:
        """The mean silhouette, NaN if it is not defined."""
        known = self.silhouettes[np.isfinite(self.silhouettes)]
        return float(known.mean()) if len(known) else float("nan")


class Splitter:
    """Splits n finite vectors (n, dim), prepared for the metric, into any number of groups, by one seed."""

    def __init__(self, vectors: Float32, metric: Metric, seed: int) -> None:
        if all_equal(vectors):
            # Copies of an image differ by rounding, which must not separate them.
            vectors = np.repeat(vectors[:1], len(vectors), axis=0)
        vectors, self._unit = fitted(vectors, metric)
        self._vectors, self._metric, self._seed = vectors, metric, seed
        self._points = on_grid(vectors)
        self._sample = np.sort(choose_rows(len(vectors), MEASURED, seed))

    @functools.cached_property
    def _apart(self) -> Float32:
        """The distances between all images of the sample."""
        return distances_between(self._vectors[self._sample], self._metric)

    def split(self, k: int) -> Split:
        """Split into k groups, or fewer if there are fewer distinct vectors."""
        found = best_lloyd(self._points, k, self._seed, _RESTARTS)
        centroids = found.centroids.astype(np.float32)
        assigned = assign(self._vectors, centroids)
        sizes = np.bincount(assigned.clusters, minlength=k)
        order = np.argsort(-sizes, kind="stable")
        order = order[sizes[order] > 0]  # equal images leave clusters empty
        renamed = np.empty(k, np.int32)
        renamed[order] = np.arange(len(order))
        clusters = renamed[assigned.clusters]
        inertia = float(np.square(assigned.distances, dtype=np.float64).sum()) * self._unit**2
        distances = in_metric(assigned, centroids, self._metric, (self._vectors != 0).any(axis=1)).distances
        unit = np.float32(self._unit)
        return Split(centroids[order] * unit, clusters, distances * unit, self._silhouettes(clusters), inertia)

    def _silhouettes(self, clusters: Int32) -> Float32:
        """Return the silhouette of each image, NaN outside the sample, and if it is not defined."""
        from sklearn.metrics import silhouette_samples

        found = np.full(len(self._vectors), np.nan, np.float32)
        here = clusters[self._sample]
        if 2 <= len(np.unique(here)) < len(here):
            found[self._sample] = silhouette_samples(self._apart, here, metric="precomputed")
        return found


def goodness(split: Split) -> tuple[bool, float]:
    """Return a sort key that prefers at least two groups to one group with single images, then the silhouette."""
    groups = int(np.count_nonzero(np.bincount(split.clusters) > 1))
    return groups > 1, -2.0 if np.isnan(split.silhouette) else split.silhouette
