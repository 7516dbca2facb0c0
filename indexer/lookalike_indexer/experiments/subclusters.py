"""k-means of the images of one class, and how well it divides them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.experiments.view import Float32, Int32
from lookalike_indexer.indexing.sample import choose_rows
from lookalike_indexer.progress import Silent

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


def split(vectors: Float32, k: int, seed: int) -> Split:
    """Divide n normalised, finite vectors (n, dim) into k groups, or fewer where there are fewer different vectors."""
    trained = train(vectors, k, ClusterSettings(clusters=k, seed=seed, restarts=_RESTARTS), Silent())
    assigned = assign(vectors, trained.centroids)
    sizes = np.bincount(assigned.clusters, minlength=k)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]  # equal images leave clusters empty
    renamed = np.empty(k, np.int32)
    renamed[order] = np.arange(len(order))
    clusters = renamed[assigned.clusters]
    inertia = float(np.square(assigned.distances, dtype=np.float64).sum())
    return Split(trained.centroids[order], clusters, assigned.distances, _silhouettes(vectors, clusters, seed), inertia)


def goodness(split: Split) -> tuple[bool, float]:
    """Two groups before one and single images, which are oddballs; then the silhouette, if it is defined."""
    groups = int(np.count_nonzero(np.bincount(split.clusters) > 1))
    return groups > 1, -2.0 if np.isnan(split.silhouette) else split.silhouette


def _silhouettes(vectors: Float32, clusters: Int32, seed: int) -> Float32:
    """The silhouette of each image, NaN for those outside the sample and where there is one cluster, or one each."""
    from sklearn.metrics import silhouette_samples

    found = np.full(len(vectors), np.nan, np.float32)
    sample = np.sort(choose_rows(len(vectors), MEASURED, seed))
    if 2 <= len(np.unique(clusters[sample])) < len(sample):
        found[sample] = silhouette_samples(vectors[sample], clusters[sample], metric="cosine")
    return found
