"""k-means of the images of one class, and how well it divides them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.lloyd import best_lloyd
from lookalike_indexer.experiments.view import Float32, Int32
from lookalike_indexer.indexing.sample import choose_rows
from lookalike_indexer.numerics.grid import Float64, on_grid, squared_distances
from lookalike_indexer.numerics.varied import all_alike

# Images between which silhouettes are measured: all pairs of them.
MEASURED = 2_000
_RESTARTS = 10


@dataclass(frozen=True)
class Split:
    """k sub-clusters, the largest first: of n images their sub-cluster, distance, silhouette (NaN: not measured)."""

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
        """The mean, NaN when it is not defined."""
        known = self.silhouettes[np.isfinite(self.silhouettes)]
        return float(known.mean()) if len(known) else float("nan")


class Splitter:
    """Divides n normalised, finite vectors (n, dim) into any number of groups, by one seed."""

    def __init__(self, vectors: Float32, seed: int) -> None:
        if all_alike(vectors):
            # Copies of a picture differ by rounding, which must not divide them.
            vectors = np.repeat(vectors[:1], len(vectors), axis=0)
        self._vectors, self._seed = vectors, seed
        self._points = on_grid(vectors)
        self._sample = np.sort(choose_rows(len(vectors), MEASURED, seed))

    @functools.cached_property
    def _apart(self) -> Float64:
        """The cosine distances between all images of the sample: half of the squared ones between unit vectors."""
        return squared_distances(self._points[self._sample]) / 2

    def split(self, k: int) -> Split:
        """Divide into k groups, or fewer where there are fewer different vectors."""
        found = best_lloyd(self._points, k, self._seed, _RESTARTS)
        centroids = found.centroids.astype(np.float32)
        assigned = assign(self._vectors, centroids)
        sizes = np.bincount(assigned.clusters, minlength=k)
        order = np.argsort(-sizes, kind="stable")
        order = order[sizes[order] > 0]  # equal images leave clusters empty
        renamed = np.empty(k, np.int32)
        renamed[order] = np.arange(len(order))
        clusters = renamed[assigned.clusters]
        inertia = float(np.square(assigned.distances, dtype=np.float64).sum())
        return Split(centroids[order], clusters, assigned.distances, self._silhouettes(clusters), inertia)

    def _silhouettes(self, clusters: Int32) -> Float32:
        """The silhouette of each image, NaN outside the sample and where there is one cluster, or one each."""
        from sklearn.metrics import silhouette_samples

        found = np.full(len(self._vectors), np.nan, np.float32)
        here = clusters[self._sample]
        if 2 <= len(np.unique(here)) < len(here):
            found[self._sample] = silhouette_samples(self._apart, here, metric="precomputed")
        return found


def goodness(split: Split) -> tuple[bool, float]:
    """Two groups before one and single images, which are oddballs; then the silhouette, if it is defined."""
    groups = int(np.count_nonzero(np.bincount(split.clusters) > 1))
    return groups > 1, -2.0 if np.isnan(split.silhouette) else split.silhouette
