"""A clustering in memory, ordered so that the members of a cluster are a slice."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Float32, Int32, Int64
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.clustering.metric_distances import measured_assignments
from lookalike_indexer.collection.manifest import ClusteringEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError
from lookalike_server.columns.array_file import Arrays, numbers
from lookalike_server.columns.ids import Ids


@dataclass(frozen=True)
class Members:
    """Members of one cluster, nearest to its centroid first; all arrays have shape (n,)."""

    ids: Int64
    distances: Float32
    margins: Float32


class Clustering:
    """Assignment of every image, and the order of each cluster's members.

    Distances and margins are in the clustering's metric; see `clustering.measured` of the indexer.
    """

    def __init__(self, reader: CollectionReader, name: str) -> None:
        self._hold(reader.clustering(name), name, _arrays_of(reader, name))
        self._rule: Rule | None = Rule.of(reader, name)

    @classmethod
    def of_arrays(cls, entry: ClusteringEntry, name: str, arrays: Arrays, rule: Rule | None = None) -> Clustering:
        """Create a clustering from `arrays`, for example of a mapped file. Without a rule it assigns nothing."""
        clustering = cls.__new__(cls)
        clustering._hold(entry, name, arrays)
        clustering._rule = rule
        return clustering

    def _hold(self, entry: ClusteringEntry, name: str, arrays: Arrays) -> None:
        self.arrays = arrays
        self.name = name
        self.entry = entry
        self.ids: Int64 = arrays["ids"].to_numpy()
        self._rows_by_id = Ids(self.ids)
        self.clusters: Int32 = arrays["clusters"].to_numpy()
        self.distances: Float32 = arrays["distances"].to_numpy()
        self._margins: Float32 = arrays["margins"].to_numpy()
        self._order: Int64 = arrays["order"].to_numpy()
        self.sizes: Int64 = arrays["sizes"].to_numpy()
        self._starts: Int64 = np.concatenate([[0], np.cumsum(self.sizes)])

    def mapped(self, arrays: Arrays) -> Clustering:
        """Return the same clustering with other copies of its arrays."""
        return Clustering.of_arrays(self.entry, self.name, arrays, self._rule)

    @functools.cached_property
    def mean_distances(self) -> Float32:
        """float32 (k,): mean distance of a cluster's members to its centroid; NaN if it has none."""
        return means_of(self.clusters, self.distances, self.sizes)

    def stored(self, ids: Int64) -> AssignedVectors:
        """Return the stored assignment of each id: cluster -1, distance and margin NaN if it has none."""
        rows, there = self._rows_by_id.rows(ids)
        clusters = np.full(len(ids), -1, np.int32)
        distances = np.full(len(ids), np.nan, np.float32)
        margins = np.full(len(ids), np.nan, np.float32)
        clusters[there] = self.clusters[rows[there]]
        distances[there] = self.distances[rows[there]]
        margins[there] = self._margins[rows[there]]
        return AssignedVectors(clusters, distances, margins)

    def assigned(self, vectors: Float32) -> AssignedVectors:
        """Return the assignment of vectors (n, dim) that are not stored here."""
        if self._rule is None:
            raise RuntimeError(f"The clustering {self.name} was opened without its centroids.")
        return self._rule.measure(vectors)

    def sizes_of(self, clusters: Int32) -> Int64:
        """Return the size of each cluster; 0 for cluster -1."""
        return np.where(clusters < 0, 0, self.sizes[clusters])

    def members(self, cluster: int, start: int, stop: int) -> Members:
        """Return members `[start, stop)` of a cluster; none for cluster -1."""
        return self.at(self.rows_of(cluster)[start:stop])

    def rows_of(self, cluster: int) -> Int64:
        """Return the rows of a cluster's members, nearest to its centroid first; none for cluster -1."""
        if cluster < 0:
            return self._order[:0]
        return self._order[self._starts[cluster] : self._starts[cluster + 1]]

    def at(self, rows: Int64) -> Members:
        """Return the images of some rows."""
        return Members(self.ids[rows], self.distances[rows], self._margins[rows])


def _arrays_of(reader: CollectionReader, name: str) -> dict[str, pa.Array]:
    """Return the stored assignments as arrays."""
    k, stored = reader.clustering(name).k, measured_assignments(reader, name)
    if len(stored.clusters) and not 0 <= stored.clusters.min() <= stored.clusters.max() < k:
        raise DataLossError(f"The clustering {name} refers to clusters that do not exist; run lookalike cluster again.")
    found: dict[str, npt.NDArray[Any]] = {
        "ids": stored.ids,
        "clusters": stored.clusters,
        "distances": stored.distances,
        "margins": stored.margins,
        # Stable, so that equal distances stay in order of ascending id.
        "order": np.lexsort((stored.distances, stored.clusters)).astype(np.int64, copy=False),
        "sizes": np.bincount(stored.clusters, minlength=k).astype(np.int64, copy=False),
    }
    return {name: numbers(values) for name, values in found.items()}


class Matching:
    """Members of a clustering that match a filter."""

    def __init__(self, clustering: Clustering, matches: Callable[[Int64], Bools]) -> None:
        """`matches` returns which images with the given ids (n,) match."""
        self._clustering, self._matches = clustering, matches

    @functools.cached_property
    def _keep(self) -> Bools:
        return self._matches(self._clustering.ids)

    @functools.cached_property
    def sizes(self) -> Int64:
        """int64 (k,): number of matching members of each cluster."""
        k = self._clustering.entry.k
        return np.bincount(self._clustering.clusters[self._keep], minlength=k).astype(np.int64, copy=False)

    @functools.cached_property
    def mean_distances(self) -> Float32:
        """float32 (k,): mean distance of matching members to the centroid; NaN if there are none."""
        keep = self._keep
        return means_of(self._clustering.clusters[keep], self._clustering.distances[keep], self.sizes)

    def sizes_of(self, clusters: Int32) -> Int64:
        """Return the number of matching members of each cluster; 0 for cluster -1."""
        return np.where(clusters < 0, 0, self.sizes[clusters])

    def rows_of(self, cluster: int) -> Int64:
        """Return what Clustering.rows_of does, for matching members."""
        rows = self._clustering.rows_of(cluster)
        return rows[self._matches(self._clustering.ids[rows])]

    def members(self, cluster: int, start: int, stop: int) -> Members:
        """Return what Clustering.members does, for matching members."""
        return self._clustering.at(self.rows_of(cluster)[start:stop])


def means_of(clusters: Int32, distances: Float32, sizes: Int64) -> Float32:
    """Return the mean distance of each cluster's members (k,), NaN if it has none; `clusters` is (members,)."""
    sums = np.bincount(clusters, weights=distances.astype(np.float64), minlength=len(sizes))
    means = np.full(len(sizes), np.nan, np.float32)
    np.divide(sums, sizes, out=means, where=sizes > 0, casting="same_kind")
    return means
