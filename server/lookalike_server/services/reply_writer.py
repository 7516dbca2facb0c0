"""Hits as the columns of replies: a batch of short replies at once, or one large reply in pieces.

Replies are a serialized SearchResponse without `served`. Concatenated messages parse as one, with
joined lists, as protobuf's encoding guide promises. So `served` is appended, and a large reply is
written in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lookalike import wire
from lookalike.v1 import search_pb2, types_pb2
from lookalike_indexer.arrays import Float32, Int64
from lookalike_server.columns.space_images import ImageTexts, SpaceImages, Texts
from lookalike_server.search.hits import Hits

_INT64 = types_pb2.ELEMENT_TYPE_INT64
_FLOAT32 = types_pb2.ELEMENT_TYPE_FLOAT32

# Texts or numbers of one call that are written on the event loop. They take two milliseconds.
_TEXTS, _NUMBERS = 8_192, 65_536
# Neighbors of one piece. They take about two milliseconds, after which other tasks run.
PIECE = 8_192


def texts_of(fields: search_pb2.NeighborFields) -> Texts:
    """Return which texts the fields of a request name."""
    return Texts(fields.keys, fields.labels, fields.uris)


class ReplySpec(NamedTuple):
    """Contents of a reply: at most `k` neighbors of each of `queries`, and the requested texts.

    `own` (queries, m) are the ids of images to leave out of each query, -1 for none; None if
    nothing is left out. `answered` are the rows of these queries among all `asked`; None if they
    are all. `more`: the reply has further columns, which are read from the disk.
    """

    queries: int
    k: int
    own: Int64 | None
    texts: Texts
    asked: int = 0
    answered: Int64 | None = None
    more: bool = False

    def spread(self, counts: list[int]) -> list[int]:
        """Return the counts of all requested queries. One without an answer has no neighbors."""
        if self.answered is None:
            return counts
        spread = np.zeros(self.asked, np.int64)
        spread[self.answered] = counts
        found: list[int] = spread.tolist()
        return found

    @property
    def search_k(self) -> int:
        """Number of neighbors to search for: k, plus those that may be left out."""
        return self.k + (0 if self.own is None else self.own.shape[1])

    @property
    def neighbors(self) -> int:
        """Largest number of neighbors of the reply."""
        return self.queries * self.k

    @property
    def is_large(self) -> bool:
        """True if writing the reply takes too long for the event loop."""
        return self.more or self.neighbors > _NUMBERS or self.neighbors * sum(self.texts) > _TEXTS


@dataclass(frozen=True)
class Flat:
    """Neighbors of the queries of some calls, flattened: `counts` of each query, rows and distances of all."""

    counts: list[int]
    rows: Int64
    distances: Float32

    @classmethod
    def of(cls, rows: Int64, distances: Float32, space_ids: Int64, calls: Sequence[ReplySpec]) -> Flat:
        """Select what the calls want from the hits (n, k) of their queries, which are in the order of the calls."""
        queries, k = rows.shape
        own = any(call.own is not None for call in calls)
        # The usual case: every place is filled, and all of it is wanted. Missing rows come last.
        if not own and all(call.k == k for call in calls) and (rows[:, -1] >= 0).all():
            return cls([k] * queries, rows.ravel(), distances.ravel())
        keep = rows >= 0
        if own:
            found = space_ids[rows]
            for one in _excluded_ids(calls).T:
                keep &= found != one[:, None]
        # A search may have found more than its call wants, for example one more for the query's own image.
        most = np.repeat([call.k for call in calls], [call.queries for call in calls])
        keep &= np.cumsum(keep, axis=1) <= most[:, None]
        return cls(keep.sum(axis=1).tolist(), rows[keep], distances[keep])


def write_batch(images: SpaceImages, hits: Sequence[Hits], calls: Sequence[ReplySpec]) -> list[bytes]:
    """Return the replies of some calls, none of them large, for their hits in one space.

    Texts are looked up for all calls at once: the overhead of Arrow and numpy is the same for one
    as for several.
    """
    rows, distances = _stacked(hits)
    return _written(images, rows, distances, calls)


def flat(images: SpaceImages, hits: Hits, call: ReplySpec) -> Flat:
    """Return the neighbors that one call wants of its hits."""
    return Flat.of(hits.rows, hits.distances, images.ids, [call])


def write_large(images: SpaceImages, found: Flat, call: ReplySpec) -> bytes:
    """Return the reply of one call of any size. Run it in a worker thread.

    The pieces release the GIL in between; writing all at once would hold it throughout.
    """
    ids = images.ids[found.rows]
    numbers = search_pb2.Neighbors(
        counts=call.spread(found.counts), ids=wire.encode(ids), distances=wire.encode(found.distances)
    )
    pieces = [search_pb2.SearchResponse(neighbors=numbers).SerializeToString()]
    for start in range(0, len(ids), PIECE):
        texts = images.texts(found.rows[start : start + PIECE], call.texts)
        piece = search_pb2.SearchResponse()
        _put_texts(piece.neighbors, texts, call.texts, 0, PIECE)
        pieces.append(piece.SerializeToString())
    return b"".join(pieces)


def _excluded_ids(calls: Sequence[ReplySpec]) -> Int64:
    """Return the ids to leave out, (queries, m), padded with an id that no image has."""
    most = max(call.own.shape[1] for call in calls if call.own is not None)
    owns = []
    for call in calls:
        own = call.own
        if own is None or own.shape[1] < most:
            own = np.full((call.queries, most), -1, np.int64)
            if call.own is not None:
                own[:, : call.own.shape[1]] = call.own
        owns.append(own)
    return np.concatenate(owns)


def _stacked(hits: Sequence[Hits]) -> tuple[Int64, Float32]:
    """Return the rows and distances of several calls, padded to the largest k."""
    if len(hits) == 1:
        return hits[0].rows, hits[0].distances
    widths = {one.rows.shape[1] for one in hits}
    if len(widths) == 1:
        return np.concatenate([one.rows for one in hits]), np.concatenate([one.distances for one in hits])
    shape = sum(len(one.rows) for one in hits), max(widths)
    rows, distances = np.full(shape, -1, np.int64), np.full(shape, np.inf, np.float32)
    start = 0
    for one in hits:
        here = slice(start, start + len(one.rows)), slice(one.rows.shape[1])
        rows[here], distances[here] = one.rows, one.distances
        start += len(one.rows)
    return rows, distances


def _written(images: SpaceImages, rows: Int64, distances: Float32, calls: Sequence[ReplySpec]) -> list[bytes]:
    found = Flat.of(rows, distances, images.ids, calls)
    texts = images.texts(found.rows, Texts(*map(any, zip(*(call.texts for call in calls), strict=True))))
    # As wire.encode writes them, but all in one step.
    ids = images.ids[found.rows].astype("<i8", copy=False).tobytes()
    values = found.distances.astype("<f4", copy=False).tobytes()
    replies: list[bytes] = []
    query = start = 0
    for call in calls:
        counts = found.counts[query : query + call.queries]
        length = sum(counts)
        end = start + length
        message = search_pb2.SearchResponse()
        # Filled in place, because a constructor copies the messages it is given.
        neighbors = message.neighbors
        neighbors.counts.extend(call.spread(counts))
        _put(neighbors.ids, _INT64, length, ids[8 * start : 8 * end])
        _put(neighbors.distances, _FLOAT32, length, values[4 * start : 4 * end])
        _put_texts(neighbors, texts, call.texts, start, end)
        replies.append(message.SerializeToString())
        query, start = query + call.queries, end
    return replies


def _put_texts(message: search_pb2.Neighbors, texts: ImageTexts, wanted: Texts, start: int, end: int) -> None:
    """Put the wanted texts of images `[start, end)` into a call's reply."""
    if wanted.keys:
        message.keys.extend(texts.keys[start:end])
    if wanted.labels:
        message.labels.extend(texts.labels[start:end])
    if wanted.uris:
        message.uris.extend(texts.uris[start:end])


def _put(tensor: types_pb2.Tensor, kind: types_pb2.ElementType.ValueType, length: int, data: bytes) -> None:
    tensor.element_type = kind
    tensor.shape.append(length)
    tensor.data = data
