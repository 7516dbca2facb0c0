"""What was found, as the columns of a reply: those of a batch together, and a large reply piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike import wire
from lookalike.v1 import search_pb2, types_pb2
from lookalike_server.columns import Columns

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_INT64 = types_pb2.ELEMENT_TYPE_INT64
_FLOAT32 = types_pb2.ELEMENT_TYPE_FLOAT32

# Texts of one call. Up to so many take a few milliseconds, which a batch may be held up for.
_LARGE = 16_384
# Neighbours of one piece: two milliseconds or so, after which other threads have their turn.
_PIECE = 8_192


@dataclass(frozen=True)
class Wanted:
    """What a call wants to know: at most `k` neighbours of each of `queries`, and which texts.

    `own` is the id of each query's own image, which is left out; None where
    none has to be.
    """

    queries: int
    k: int
    own: Int64 | None
    fields: search_pb2.NeighborFields

    @property
    def is_large(self) -> bool:
        """Whether its texts would hold up the batch."""
        return self.queries * self.k * (self.fields.keys + self.fields.labels + self.fields.uris) > _LARGE


@dataclass(frozen=True)
class Found:
    """The neighbours of some calls' queries, one after another: `counts` of each query, ids and distances of all."""

    counts: Int64
    ids: Int64
    distances: Float32

    @classmethod
    def of(cls, rows: Int64, distances: Float32, space_ids: Int64, calls: Sequence[Wanted]) -> Found:
        """What calls want of the hits (n, k) of all their queries, which are those of one call after another."""
        keep = rows >= 0
        ids = space_ids[rows]
        if any(call.own is not None for call in calls):
            # An id that no image has, where none is to be left out.
            own = [np.full(call.queries, -1) if call.own is None else call.own for call in calls]
            keep &= ids != np.concatenate(own)[:, None]
        # A call may have been searched for more than it wants, such as one more for its own image.
        most = np.repeat([call.k for call in calls], [call.queries for call in calls])
        keep &= np.cumsum(keep, axis=1) <= most[:, None]
        return cls(keep.sum(axis=1), ids[keep], distances[keep])


class NeighborWriter:
    """Writes what was found in one space as bytes of a SearchResponse without what served it.

    Messages that are written one after another are read as one, their lists
    joined (the encoding guide of protobuf promises it): what served the reply
    is added behind, and a large reply is written in pieces.
    """

    def __init__(self, columns: Columns, space_ids: Int64) -> None:
        self._columns = columns
        self._space_ids = space_ids

    def batch(self, rows: Int64, distances: Float32, calls: Sequence[Wanted]) -> list[bytes | None]:
        """The replies of calls whose hits (n, k) these are, one call after another; None for a large one.

        Texts are looked up for many calls at once: Arrow and numpy cost as much
        for one as for some.
        """
        written: list[bytes | None] = []
        start = 0
        for run in _runs(calls):
            end = start + sum(call.queries for call in run)
            if run[0].is_large:
                written.append(None)
            else:
                written += self._written(rows[start:end], distances[start:end], run)
            start = end
        return written

    def large(self, rows: Int64, distances: Float32, call: Wanted) -> bytes:
        """The reply of one call of any size, for a thread of its own.

        No step holds the interpreter's lock for as long as writing all at once would.
        """
        found = Found.of(rows, distances, self._space_ids, [call])
        numbers = search_pb2.Neighbors(
            counts=found.counts.tolist(), ids=wire.encode(found.ids), distances=wire.encode(found.distances)
        )
        pieces = [search_pb2.SearchResponse(neighbors=numbers).SerializeToString()]
        for start in range(0, len(found.ids), _PIECE):
            texts = self._texts(found.ids[start : start + _PIECE], [call])
            piece = search_pb2.Neighbors()
            texts.put(piece, call.fields, 0, _PIECE)
            pieces.append(search_pb2.SearchResponse(neighbors=piece).SerializeToString())
        return b"".join(pieces)

    def _written(self, rows: Int64, distances: Float32, calls: Sequence[Wanted]) -> list[bytes]:
        found = Found.of(rows, distances, self._space_ids, calls)
        texts = self._texts(found.ids, calls)
        counts = found.counts.tolist()
        # As wire.encode writes them, but all of them in one step.
        ids, values = found.ids.astype("<i8").tobytes(), found.distances.astype("<f4").tobytes()
        replies: list[bytes] = []
        query = start = 0
        for call in calls:
            own_counts = counts[query : query + call.queries]
            length = sum(own_counts)
            end = start + length
            message = search_pb2.SearchResponse(
                neighbors=search_pb2.Neighbors(
                    counts=own_counts,
                    ids=types_pb2.Tensor(element_type=_INT64, shape=(length,), data=ids[8 * start : 8 * end]),
                    distances=types_pb2.Tensor(
                        element_type=_FLOAT32, shape=(length,), data=values[4 * start : 4 * end]
                    ),
                )
            )
            texts.put(message.neighbors, call.fields, start, end)
            replies.append(message.SerializeToString())
            query, start = query + call.queries, end
        return replies

    def _texts(self, ids: Int64, calls: Sequence[Wanted]) -> _Texts:
        """The texts of some images that any of the calls wants."""
        fields = [call.fields for call in calls]
        keys, labels, uris = (any(getattr(one, name) for one in fields) for name in ("keys", "labels", "uris"))
        if not (keys or labels or uris):
            return _Texts([], [], [])
        columns = self._columns
        rows = columns.rows_of_ids(ids)
        return _Texts(
            columns.keys(rows) if keys else [],
            columns.labels(rows) if labels else [],
            columns.uris(rows) if uris else [],
        )


@dataclass(frozen=True)
class _Texts:
    """Of some images, in their order; an empty list where nobody wants them."""

    keys: list[str]
    labels: list[str]
    uris: list[str]

    def put(self, message: search_pb2.Neighbors, fields: search_pb2.NeighborFields, start: int, end: int) -> None:
        """Put those that a call wants of images `start` to before `end` into its reply."""
        if fields.keys:
            message.keys.extend(self.keys[start:end])
        if fields.labels:
            message.labels.extend(self.labels[start:end])
        if fields.uris:
            message.uris.extend(self.uris[start:end])


def _runs(calls: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Neighbouring calls, as many as are written in a moment; a large one is alone."""
    run: list[Wanted] = []
    size = 0
    for call in calls:
        more = call.queries * call.k
        if run and (call.is_large or run[0].is_large or size + more > _PIECE):
            yield run
            run, size = [], 0
        run.append(call)
        size += more
    if run:
        yield run
