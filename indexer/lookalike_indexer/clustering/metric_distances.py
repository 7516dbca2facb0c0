"""Distances to centroids for display: in the metric of the clustering.

k-means compares Euclidean distances d, also between L2-normalized vectors, and these are stored. The cosine distance of
a unit vector to a centroid c is 1 - (1 + |c|^2 - d^2) / (2 |c|). It increases with d within a cluster, so that the
members of a cluster have the same order by both.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Float64, Int32, Int64
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.collection.manifest import ClusteringEntry
from lookalike_indexer.collection.reader import Assignments, CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import rowwise

# The distance of a zero vector to a centroid equals the centroid's length, except for the rounding of float32.
_ROUNDING: Final = 1e-6
_BLOCK: Final = 4096


def in_metric(
    assigned: AssignedVectors, centroids: Float32, metric: Metric, has_direction: Bools | None = None
) -> AssignedVectors:
    """Convert an assignment of n vectors to centroids (k, dim) from Euclidean distances to the metric.

    `margins` are the amounts by which a distance could grow before the next centroid would be nearer. `has_direction`
    (n,) is False for zero vectors: their cosine distance is 1, as is that to a zero centroid.
    """
    if metric == "l2":
        return assigned
    lengths = _lengths(centroids, assigned.clusters)
    distances, margins = assigned.distances.astype(np.float64), assigned.margins.astype(np.float64)
    twice = 2 * np.where(lengths > 0, lengths, 1)
    cosines = (1 + np.square(lengths) - np.square(distances)) / twice
    cosines[lengths == 0] = 0
    if has_direction is not None:
        cosines[~has_direction] = 0
    # The cosine distance at the border to the next cluster, minus the present one.
    grown = margins * (2 * distances + margins) / twice
    return dataclasses.replace(
        assigned, distances=np.clip(1 - cosines, 0, 2).astype(np.float32), margins=grown.astype(np.float32)
    )


def _lengths(centroids: Float32, clusters: Int32) -> Float64:
    """Return the length of each cluster's centroid."""
    if len(clusters) < len(centroids):
        # A served query needs the length of one among hundreds.
        few: Float64 = np.sqrt(rowwise.squared_norms(centroids[clusters]))
        return few
    lengths: Float64 = np.sqrt(rowwise.squared_norms(centroids))[clusters]
    return lengths


def measured_assignments(reader: CollectionReader, name: str) -> Assignments:
    """Return the stored assignments of a clustering, by "space/name", in its metric; errors as those of the reader."""
    entry, stored = reader.clustering(name), reader.assignments(name)
    centroids = reader.centroids(name)
    raw = AssignedVectors(stored.clusters, stored.distances, stored.margins)
    far = entry.metric == "l2" or entry.whitening
    directed = None if far else _directed(reader, entry, raw, stored.places, centroids)
    found = in_metric(raw, centroids, entry.metric, directed)
    return dataclasses.replace(stored, distances=found.distances, margins=found.margins)


def _directed(
    reader: CollectionReader, entry: ClusteringEntry, assigned: AssignedVectors, places: Int64, centroids: Float32
) -> Bools:
    """Return whether each stored embedding is nonzero; only those at a zero vector's distance are read."""
    lengths = _lengths(centroids, assigned.clusters)
    directed = np.ones(len(lengths), bool)
    suspects: Int64 = np.flatnonzero(np.abs(lengths - assigned.distances) <= _ROUNDING)
    parts, dim = reader.manifest.parts_of(entry), reader.manifest.spaces[entry.space].dim
    for start in range(0, len(suspects), _BLOCK):
        rows = suspects[start : start + _BLOCK]
        directed[rows] = reader.vectors_of(parts, places[rows], dim).any(axis=1)
    return directed
