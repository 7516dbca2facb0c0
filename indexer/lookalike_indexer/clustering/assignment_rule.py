"""Assignment rule of an embedding to a cluster, shared by stored images, query images and verification."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering import tables
from lookalike_indexer.clustering.assign import AssignedVectors, Assigner
from lookalike_indexer.clustering.metric_distances import in_metric
from lookalike_indexer.clustering.whitening import Whitening
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors.metric import prepare


class Rule:
    """The nearest centroid, after embeddings are prepared for the metric and, if there is a whitening, whitened.

    The rule is the same for all strategies. Centroids are (k, m): m is the dimension of the space, or the number of
    components of the whitening.
    """

    def __init__(
        self, metric: Metric, centroids: Float32, whitening: Whitening | None = None, gpus: Sequence[int] = ()
    ) -> None:
        self.metric = metric
        self.centroids = centroids
        self.whitening = whitening
        self._gpus = gpus

    @classmethod
    def of(cls, reader: CollectionReader, clustering: str) -> Rule:
        """Return the rule of a stored clustering, by "space/name". Raise NotFoundError if it does not exist."""
        entry = reader.clustering(clustering)
        whitening = tables.read_whitening(reader.storage, entry.whitening) if entry.whitening else None
        return cls(entry.metric, reader.centroids(clustering), whitening)

    def transformed(self, vectors: Float32) -> Float32:
        """Return embeddings (n, dim) in the form that is compared with the centroids: float32 (n, m)."""
        prepared = prepare(vectors, self.metric)
        return prepared if self.whitening is None else self.whitening.apply(prepared)

    def assign(self, vectors: Float32) -> AssignedVectors:
        """Assign stored embeddings (n, dim) by Euclidean distances. Raise UsageError if an embedding is not finite.

        On the CPU it is thread-safe; on GPUs only one thread may call it at a time.
        """
        return self._assigner.assign(self.transformed(vectors))

    def measure(self, vectors: Float32) -> AssignedVectors:
        """Assign embeddings with distances and margins in the clustering's metric, see `metric_distances.py`."""
        transformed = self.transformed(vectors)
        assigned = self._assigner.assign(transformed)
        return in_metric(assigned, self.centroids, self.metric, (transformed != 0).any(axis=1))

    @functools.cached_property
    def _assigner(self) -> Assigner:
        # Created on demand, because it copies the centroids, and cached, because creating it costs more than a call.
        return Assigner(self.centroids, self._gpus)
