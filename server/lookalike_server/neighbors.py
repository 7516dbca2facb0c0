"""What was found, as the columns of a reply; a large reply is written piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike import wire
from lookalike.v1 import search_pb2
from lookalike_server.columns import Columns
from lookalike_server.engine import Hits

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

# Texts. Up to so many, a reply takes a few milliseconds and is made in the event loop.
_LARGE = 16_384
# Neighbours of one piece: two milliseconds or so, after which the event loop has its turn.
_PIECE = 8_192


@dataclass(frozen=True)
class Found:
    """The neighbours of all queries, one after another: `counts` of each query, ids and distances of all."""

    counts: Int64
    ids: Int64
    distances: Float32

    @classmethod
    def of(cls, hits: Hits, space_ids: Int64, own: Int64 | None, k: int) -> Found:
        """At most k of each query's hits, without what was not found and without the query's own image."""
        keep = hits.rows >= 0
        ids = space_ids[hits.rows]
        if own is not None:
            keep &= ids != own[:, None]
            # One more was asked for than is wanted; where the own image was not among them the last one goes.
            keep &= np.cumsum(keep, axis=1) <= k
        return cls(keep.sum(axis=1), ids[keep], hits.distances[keep])

    def is_large(self, fields: search_pb2.NeighborFields) -> bool:
        """Whether the texts that the caller wants would hold up the event loop."""
        return len(self.ids) * (fields.keys + fields.labels + fields.uris) > _LARGE


def neighbors(columns: Columns, found: Found, fields: search_pb2.NeighborFields) -> search_pb2.Neighbors:
    """All of it in one message."""
    message = _numbers(found)
    _add_texts(message, columns, found.ids, fields)
    return message


def neighbor_bytes(columns: Columns, found: Found, fields: search_pb2.NeighborFields) -> bytes:
    """The bytes of a SearchResponse but for what served it, for a thread of its own.

    Messages that are written one after another are read as one, their lists
    joined (the encoding guide of protobuf promises it). So no step holds the
    interpreter's lock for as long as writing all at once would.
    """
    pieces = [search_pb2.SearchResponse(neighbors=_numbers(found)).SerializeToString()]
    for start in range(0, len(found.ids), _PIECE):
        piece = search_pb2.SearchResponse()
        _add_texts(piece.neighbors, columns, found.ids[start : start + _PIECE], fields)
        pieces.append(piece.SerializeToString())
    return b"".join(pieces)


def _numbers(found: Found) -> search_pb2.Neighbors:
    return search_pb2.Neighbors(
        counts=found.counts.tolist(), ids=wire.encode(found.ids), distances=wire.encode(found.distances)
    )


def _add_texts(message: search_pb2.Neighbors, columns: Columns, ids: Int64, fields: search_pb2.NeighborFields) -> None:
    if not (fields.keys or fields.labels or fields.uris):
        return
    rows = columns.rows_of_ids(ids)
    if fields.keys:
        message.keys.extend(columns.keys(rows))
    if fields.labels:
        message.labels.extend(columns.labels(rows))
    if fields.uris:
        message.uris.extend(columns.uris(rows))
