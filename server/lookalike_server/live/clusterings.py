"""A clustering with images added since its generation was made."""

from __future__ import annotations

import functools

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Int32, Int64
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_server.columns.clusterings import Clustering, Members, means_of
from lookalike_server.live.columns import LiveColumns


class LiveClustering(Clustering):
    """A `Clustering` whose rows are followed by those of new images."""

    def __init__(self, base: Clustering, columns: LiveColumns, new_ids: Int64, added: AssignedVectors) -> None:
        """`added` are the assignments of the images with `new_ids` (n,), in order."""
        self.name, self.entry = base.name, base.entry
        self._base, self._columns, self._new_ids, self._added = base, columns, new_ids, added

    @functools.cached_property
    def ids(self) -> Int64:  # type: ignore[override]
        return np.concatenate([self._base.ids, self._new_ids])

    @functools.cached_property
    def clusters(self) -> Int32:  # type: ignore[override]
        return np.concatenate([self._base.clusters, self._added.clusters])

    @functools.cached_property
    def distances(self) -> Float32:  # type: ignore[override]
        return np.concatenate([self._base.distances, self._added.distances])

    @functools.cached_property
    def alive(self) -> Bools:
        """True for each row whose image is not deleted."""
        return self._columns.alive[self._columns.places(self.ids)]

    @functools.cached_property
    def sizes(self) -> Int64:  # type: ignore[override]
        sizes = np.bincount(self.clusters[self.alive], minlength=self.entry.k)
        return sizes.astype(np.int64, copy=False)

    @functools.cached_property
    def mean_distances(self) -> Float32:
        alive = self.alive
        return means_of(self.clusters[alive], self.distances[alive], self.sizes)

    def stored(self, ids: Int64) -> AssignedVectors:
        found = self._base.stored(ids)
        rows = np.searchsorted(self._new_ids, ids)
        there = rows < len(self._new_ids)
        there[there] = self._new_ids[rows[there]] == ids[there]
        if there.any():
            places = rows[there]
            found.clusters[there] = self._added.clusters[places]
            found.distances[there] = self._added.distances[places]
            found.margins[there] = self._added.margins[places]
        return found

    def assigned(self, vectors: Float32) -> AssignedVectors:
        return self._base.assigned(vectors)

    def rows_of(self, cluster: int) -> Int64:
        if cluster < 0:
            return np.empty(0, np.int64)
        new = np.flatnonzero(self._added.clusters == cluster) + len(self._base.ids)
        rows = np.concatenate([self._base.rows_of(cluster), new])
        rows = rows[self.alive[rows]]
        found: Int64 = rows[np.lexsort((rows, self.distances[rows]))]
        return found

    def at(self, rows: Int64) -> Members:
        base = len(self._base.ids)
        new = rows >= base
        found = self._base.at(np.where(new, 0, rows)) if base else _nothing(len(rows))
        if new.any():
            places = rows[new] - base
            found.ids[new] = self._new_ids[places]
            found.distances[new] = self._added.distances[places]
            found.margins[new] = self._added.margins[places]
        return found


def _nothing(rows: int) -> Members:
    return Members(np.zeros(rows, np.int64), np.zeros(rows, np.float32), np.zeros(rows, np.float32))
