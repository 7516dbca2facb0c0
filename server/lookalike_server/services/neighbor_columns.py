"""Columns of neighbors that are read from the disk: attributes and stored vectors."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike import wire
from lookalike.v1 import search_pb2
from lookalike_indexer.arrays import Int64
from lookalike_server.generation.spaces import Space
from lookalike_server.services.filtering import RequestedColumns


@dataclass(frozen=True)
class NeighborColumns:
    """Columns that a call requests of each neighbor besides ids, distances, and texts."""

    space: Space
    asked: RequestedColumns
    vectors: bool

    def put(self, neighbors: search_pb2.Neighbors, rows: Int64) -> None:
        """Put the columns of some rows (n,) of the space into a reply. Reads from the disk."""
        neighbors.attributes.extend(self.asked.of_rows(self.space.images.image_rows(rows)))
        if self.vectors:
            ids = self.space.images.ids[rows]
            neighbors.vectors.CopyFrom(wire.encode(self.space.vectors(self.space.rows_of_ids(ids, ids.tolist()))))
