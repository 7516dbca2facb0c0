"""Training of centroids on a sample of a space, by strategy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.settings import POINTS_PER_CENTROID, ClusterSettings
from lookalike_indexer.clustering.strategies import MOST_PAIRED, agglomerative, bisecting
from lookalike_indexer.clustering.trained_centroids import Trained
from lookalike_indexer.clustering.whitening import Whitening, fit_whitening
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Progress, Silent

# Training on all images of a small space costs little; training on a few hundred for each cluster raised the inertia by
# up to 0.5%. A --points-per-centroid below the default is respected.
_FEWEST_SAMPLED = 10_000


@dataclass(frozen=True)
class TrainedClustering:
    """Centroids (k, m), and the whitening of embeddings before they are compared with them, if any."""

    trained: Trained
    whitening: Whitening | None


def sample_size(rows: int, k: int, settings: ClusterSettings) -> int:
    """Return the number of a space's rows that a strategy trains on."""
    wanted = settings.points_per_centroid * k
    if settings.points_per_centroid >= POINTS_PER_CENTROID:
        wanted = max(wanted, _FEWEST_SAMPLED)
    size = min(rows, wanted)
    return min(size, MOST_PAIRED) if settings.strategy == "agglomerative" else size


def find_centroids(
    vectors: Float32, k: int, settings: ClusterSettings, progress: Progress, machines: Machines | None = None
) -> TrainedClustering:
    """Find k centroids of vectors (n, dim), n >= k, all finite and prepared for the metric.

    With `machines`, those of a cluster share the iterations of k-means, see `kmeans.train`. The inertia of strategies
    without iterations is a single value, that of the final centroids. Raise UsageError if the vectors to whiten are all
    alike.
    """
    if settings.strategy == "whitened":
        whitening = fit_whitening(vectors, k)
        return TrainedClustering(train(whitening.apply(vectors), k, settings, progress, machines), whitening)
    if settings.strategy == "bisecting":
        with progress.stage("bisecting k-means", k - 1, "halving") as bar:

            def halved(some: Float32, two: int) -> Float32:
                bar.advance()
                return train(some, two, plain, Silent(), machines).centroids

            plain = dataclasses.replace(settings, strategy="kmeans")
            return TrainedClustering(_measured(vectors, bisecting(vectors, k, halved)), None)
    if settings.strategy == "agglomerative":
        return TrainedClustering(_measured(vectors, agglomerative(vectors, k, settings.seed)), None)
    return TrainedClustering(train(vectors, k, settings, progress, machines), None)


def _measured(vectors: Float32, centroids: Float32) -> Trained:
    distances = assign(vectors, centroids).distances
    return Trained(centroids, [float(np.square(distances, dtype=np.float64).sum())])
