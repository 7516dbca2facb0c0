"""Stored k-nearest-neighbor graph of a space: the images with lists, and their lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.commands import graph_command
from lookalike_indexer.collection.manifest import GraphEntry
from lookalike_indexer.errors import NotFoundError
from lookalike_server.columns.columns import Columns
from lookalike_server.generation.snapshot import Snapshot


@dataclass(frozen=True)
class GraphLists:
    """k-nearest-neighbor graph of a space in one generation. `reader` reads its parts."""

    snapshot: Snapshot
    space: str
    entry: GraphEntry
    # Ids of the space in row order, and the row range of each part of the graph.
    ids: Int64
    starts: Int64
    ends: Int64

    @classmethod
    def of(cls, snapshot: Snapshot, space: str) -> GraphLists:
        """Raises NotBuiltError if the space has no graph."""
        reader = snapshot.reader
        name = snapshot.space(space).name
        entry = reader.graph(name)
        files = reader.manifest.files
        first = 0
        ranges: dict[str, tuple[int, int]] = {}
        for path in reader.manifest.spaces[name].parts:
            ranges[path] = first, first + (files[path].rows or 0)
            first = ranges[path][1]
        # Parts that were embedded again have new paths, so lists of the old parts match no images.
        found = [ranges.get(path, (0, 0)) for path in entry.parts]
        starts, ends = (np.array(each, np.int64) for each in zip(*found, strict=True))
        return cls(snapshot, name, entry, snapshot.base.space(name).ids, starts, ends)

    def listed(self) -> Int64:
        """Return the ids of existing images with a list, in the order of the graph."""
        rows = [np.arange(start, end) for start, end in zip(self.starts, self.ends, strict=True)]
        ids = self.ids[np.concatenate([np.empty(0, np.int64), *rows])]
        there: Int64 = ids[self.snapshot.columns.exist(ids)]
        return there

    def lists(self, ids: Int64, k: int) -> tuple[Int64, Float32]:
        """Return neighbors and distances (n, k) of some images, nearest first. Short lists end with -1 at infinity.

        Reads from the disk, so do not call it on the event loop. Raises NotFoundError if an image
        has no list.
        """
        neighbors = np.full((len(ids), k), -1, np.int64)
        distances = np.full((len(ids), k), np.inf, np.float32)
        parts = self._parts(ids)
        for part in np.unique(parts).tolist():
            there = np.flatnonzero(parts == part)
            listed, near, far = self.snapshot.reader.graph_part(self.entry.neighbors[part])
            rows = np.searchsorted(listed, ids[there])
            neighbors[there], distances[there] = _living(self.snapshot.columns, near[rows], far[rows], k)
        return neighbors, distances

    def _parts(self, ids: Int64) -> Int64:
        """Return the part of the graph that each image is in."""
        # The ids of a space ascend with its rows.
        rows = np.searchsorted(self.ids, ids).astype(np.int64)
        known = rows < len(self.ids)
        known[known] = self.ids[rows[known]] == ids[known]
        filled = np.flatnonzero(self.ends > self.starts)
        place = np.searchsorted(self.starts[filled], rows, side="right") - 1
        inside = known & (place >= 0)
        inside[inside] = rows[inside] < self.ends[filled[place[inside]]]
        if not inside.all():
            row = self.snapshot.columns.rows_of_ids(ids[~inside][:1])
            raise NotFoundError(
                f"The image {self.snapshot.columns.keys(row)[0]!r} is not in the graph of {self.space}; rebuild it "
                f"with: {graph_command(self.snapshot.reader.storage.location, self.entry)}"
            )
        found: Int64 = filled[place]
        return found


def _living(columns: Columns, neighbors: Int64, distances: Float32, k: int) -> tuple[Int64, Float32]:
    """Return the first k entries of each list after deleted images have been removed."""
    gone = ~columns.exist(neighbors.ravel()).reshape(neighbors.shape)
    order = np.argsort(gone, axis=1, kind="stable")[:, :k]
    left = np.where(gone, np.int64(-1), neighbors)
    apart = np.where(gone, np.float32(np.inf), distances)
    return np.take_along_axis(left, order, axis=1), np.take_along_axis(apart, order, axis=1)
