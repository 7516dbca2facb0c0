"""A clustering in memory, so that a cluster's members are a slice."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.clustering.assign import Assigned
from lookalike_indexer.clustering.rule import Rule
from lookalike_indexer.collection.manifest import ClusteringEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError
from lookalike_server.columns.ids import Ids

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Members:
    """Members of one cluster, nearest to its centroid first; all of shape (n,)."""

    ids: Int64
    distances: Float32
    margins: Float32


class Clustering:
    """Every image's assignment, and the order in which each cluster's members stand."""

    def __init__(self, reader: CollectionReader, name: str) -> None:
        entry = reader.clustering(name)
        stored = reader.assignments(name)
        if len(stored.clusters) and not 0 <= stored.clusters.min() <= stored.clusters.max() < entry.k:
            raise DataLossError(f"The clustering {name} names clusters that it does not have; cluster it again.")
        self.name = name
        self.entry: ClusteringEntry = entry
        self._ids: Int64 = stored.ids
        self._rows_by_id = Ids(stored.ids)
        self._clusters: Int32 = stored.clusters
        self._distances: Float32 = stored.distances
        self._margins: Float32 = stored.margins
        self._rule = Rule.of(reader, name)
        # Stable, so that equal distances stay by ascending id.
        self._order = np.lexsort((stored.distances, stored.clusters))
        self.sizes: Int64 = np.bincount(stored.clusters, minlength=entry.k).astype(np.int64, copy=False)
        self._starts: Int64 = np.concatenate([[0], np.cumsum(self.sizes)])

    @functools.cached_property
    def mean_distances(self) -> Float32:
        """float32 (k,): the mean distance of a cluster's members to its centroid; NaN where it has none."""
        weights = self._distances.astype(np.float64)
        sums = np.bincount(self._clusters, weights=weights, minlength=self.entry.k)
        means = np.full(self.entry.k, np.nan, np.float32)
        np.divide(sums, self.sizes, out=means, where=self.sizes > 0, casting="same_kind")
        return means

    def stored(self, ids: Int64) -> Assigned:
        """The stored assignment of each id: cluster -1, distance and margin NaN where it has none."""
        rows, there = self._rows_by_id.rows(ids)
        clusters = np.full(len(ids), -1, np.int32)
        distances = np.full(len(ids), np.nan, np.float32)
        margins = np.full(len(ids), np.nan, np.float32)
        clusters[there] = self._clusters[rows[there]]
        distances[there] = self._distances[rows[there]]
        margins[there] = self._margins[rows[there]]
        return Assigned(clusters, distances, margins)

    def assigned(self, vectors: Float32) -> Assigned:
        """The assignment of vectors (n, dim) that are not stored here."""
        return self._rule.assign(vectors)

    def sizes_of(self, clusters: Int32) -> Int64:
        """The size of each cluster; 0 for cluster -1."""
        return np.where(clusters < 0, 0, self.sizes[clusters])

    def members(self, cluster: int, start: int, stop: int) -> Members:
        """Members `start` to `stop` of a cluster; none of cluster -1."""
        if cluster < 0:
            stop = start = 0
        first = self._starts[cluster]
        rows = self._order[first + start : min(first + stop, self._starts[cluster + 1])]
        return Members(self._ids[rows], self._distances[rows], self._margins[rows])
