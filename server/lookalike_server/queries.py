"""From a batch of queries on the wire to vectors of one space."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike import wire
from lookalike.v1 import types_pb2
from lookalike_indexer.errors import DecodeError, MismatchError
from lookalike_indexer.indexing import rowwise
from lookalike_server.distinct import Distinct
from lookalike_server.embedding import EmbedQueue
from lookalike_server.errors import ArgumentError
from lookalike_server.limits import Limits
from lookalike_server.observe import record
from lookalike_server.snapshot import Snapshot
from lookalike_server.spaces import Space
from lookalike_server.workers import Workers

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

# Squared Euclidean distances of larger values are beyond float32, and nothing would be found.
_LARGEST = 1e15

# Below the least normal float32 a norm has lost its digits, and below this one its square has.
_SHORTEST = float(np.finfo(np.float32).tiny)
_SHORT_SQUARE = 1e-30

# Bytes of vectors or pictures that cost as much as looking up one image.
_PER_ITEM = 1 << 14

_FLOATS = (np.dtype("<f4"), np.dtype("<f2"))


@dataclass(frozen=True)
class Queries:
    """Vectors (n, dim) that are finite and of the right space; `own` are the ids of stored images, or None.

    `distinct` tells which of them the call has more than once.
    """

    vectors: Float32
    own: Int64 | None
    distinct: Distinct
    resolve_us: int


class Resolver:
    """Turns queries of every kind into vectors."""

    def __init__(self, limits: Limits, workers: Workers, embed_queue: EmbedQueue) -> None:
        self._limits = limits
        self._workers = workers
        self._embed_queue = embed_queue

    async def vectors(
        self, snapshot: Snapshot, space: Space, batch: types_pb2.QueryBatch, deadline: float | None
    ) -> Queries:
        """The vectors of a batch of queries.

        ArgumentError: malformed, empty or beyond the limits. NotFoundError: an
        unknown key or id. MismatchError: vectors of another space. DecodeError:
        a picture that cannot be read. WeightsError: no network to embed it with.
        """
        started = time.perf_counter()
        kind = self.checked_kind(batch)
        own = None
        if kind == "vectors":
            size = len(batch.vectors.values.data)
            vectors, distinct = await self._workers.looked_up(lambda: _taken(space, batch.vectors), size // _PER_ITEM)
        elif kind == "images":
            size = batch.images.ByteSize()
            files, distinct = await self._workers.looked_up(lambda: self._files(batch.images), size // _PER_ITEM)
            vectors = _checked(await self._embedded(snapshot, space, files, distinct, deadline))
        else:
            reading = time.perf_counter()
            own, vectors, distinct = await self._workers.run(
                lambda: self._read(snapshot, space, batch), count_of(batch)
            )
            record.stage("read", reading, time.perf_counter() - reading)
        return Queries(vectors, own, distinct, round((time.perf_counter() - started) * 1e6))

    def _read(self, snapshot: Snapshot, space: Space, batch: types_pb2.QueryBatch) -> tuple[Int64, Float32, Distinct]:
        """The ids and vectors of stored images; each vector is read once, however often the batch names it."""
        own = self.stored_ids(snapshot, batch)
        names = batch.keys.values if batch.WhichOneof("kind") == "keys" else batch.ids.values
        distinct = Distinct.of(own.tolist())
        rows = space.rows_of_ids(own, names)[distinct.first]
        return own, _checked(space.vectors(rows))[distinct.inverse], distinct

    async def _embedded(
        self, snapshot: Snapshot, space: Space, files: list[bytes], distinct: Distinct, deadline: float | None
    ) -> Float32:
        """The vectors of pictures; each is embedded once, however often the call has it."""
        asked = time.perf_counter()
        try:
            answer = await self._embed_queue.embed(
                snapshot, space.name, [files[first] for first in distinct.first], deadline
            )
        except DecodeError as error:
            raise error if error.position is None else error.at(distinct.first[error.position]) from error
        taken = record.stage("queue", asked, answer.queue_us / 1e6)
        decoded = record.stage("decode", taken, answer.result.decode_s)
        record.stage("embed", decoded, answer.result.network_s)
        return answer.result.vectors[distinct.inverse]

    def checked_kind(self, batch: types_pb2.QueryBatch) -> str:
        """The kind of a batch: "vectors", "images", "keys" or "ids"; ArgumentError when empty or too large."""
        kind = batch.WhichOneof("kind")
        if kind is None:
            raise ArgumentError("query", "The call has no query; set one of vectors, images, keys and ids.")
        count = count_of(batch)
        if not 1 <= count <= self._limits.max_batch:
            raise ArgumentError(
                f"query.{kind}", f"The call has {count} queries; it must have 1 to {self._limits.max_batch}."
            )
        return kind

    def stored_ids(self, snapshot: Snapshot, batch: types_pb2.QueryBatch) -> Int64:
        """The ids of a batch by key or id; NotFoundError names the first that is not stored."""
        columns = snapshot.columns
        if batch.WhichOneof("kind") == "keys":
            return columns.ids[columns.rows_of_keys(batch.keys.values)]
        ids = np.array(batch.ids.values, np.int64)
        columns.rows_of_ids(ids)
        return ids

    def _files(self, images: types_pb2.Images) -> tuple[list[bytes], Distinct]:
        """The pictures of a call, which are copied, and which of them differ; ArgumentError: one is too large."""
        files = list(images.data)
        for position, data in enumerate(files):
            if len(data) > self._limits.max_image_bytes:
                raise ArgumentError(
                    "query.images",
                    f"Picture {position} has {len(data)} bytes; it may have {self._limits.max_image_bytes}.",
                )
        return files, Distinct.of(files)


def require_directions(vectors: Float32, batch: types_pb2.QueryBatch) -> None:
    """ArgumentError where a query (n, dim) has no direction, so that no cosine distance to it exists."""
    short = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) < _SHORT_SQUARE)
    if not len(short):
        return
    norms = np.sqrt(rowwise.squared_norms(vectors[short]))
    without = short[norms < _SHORTEST]
    if len(without):
        kind = batch.WhichOneof("kind") or "query"
        row = int(without[0])
        named = f" ({getattr(batch, kind).values[row]!r})" if kind in ("keys", "ids") else ""
        raise ArgumentError(
            f"query.{kind}",
            f"Query {row}{named} has no direction: all values of its vector are 0, or too small for float32. "
            "Distances here are cosine; ask with another vector or picture.",
        )


def count_of(batch: types_pb2.QueryBatch) -> int:
    """The number of queries that a batch says it has; 0 when it is empty."""
    kind = batch.WhichOneof("kind")
    if kind is None:
        return 0
    if kind == "vectors":
        shape = batch.vectors.values.shape
        return int(shape[0]) if len(shape) else 0
    if kind == "images":
        return len(batch.images.data)
    return len(batch.keys.values) if kind == "keys" else len(batch.ids.values)


def _taken(space: Space, vectors: types_pb2.Vectors) -> tuple[Float32, Distinct]:
    """The vectors of a call, checked, and which of them differ."""
    values = _checked(_given(space, vectors))
    return values, Distinct.of([row.tobytes() for row in values])


def _given(space: Space, vectors: types_pb2.Vectors) -> Float32:
    theirs = vectors.space_fingerprint
    if theirs and theirs != space.entry.fingerprint:
        raise MismatchError(
            f"The query's vectors were embedded in the space with fingerprint {theirs}; this server's space is "
            f"{space.described} with fingerprint {space.entry.fingerprint}; "
            "embed them with that model, or send pictures."
        )
    try:
        values = wire.decode(vectors.values)
    except ValueError as error:
        raise ArgumentError("query.vectors.values", f"The vectors cannot be read: {error}.") from error
    if values.dtype not in _FLOATS:
        raise ArgumentError("query.vectors.values", f"Vectors must be float32 or float16, not {values.dtype}.")
    if values.ndim != 2 or values.shape[1] != space.entry.dim:
        raise ArgumentError(
            "query.vectors.values",
            f"The vectors have shape {values.shape}; the space {space.name} needs (n, {space.entry.dim}).",
        )
    return np.asarray(values, np.float32)


def _checked(vectors: Float32) -> Float32:
    """The vectors; ArgumentError when a value is NaN, infinite or too large."""
    if not _within(vectors, _LARGEST):
        raise ArgumentError("query", f"A query holds NaN, infinite values or values beyond {_LARGEST:g}.")
    return vectors


def _within(vectors: Float32, most: float) -> bool:
    """Whether no value is larger, infinite or NaN."""
    # No value is larger than the root of the sum of all squares, which costs a pass less; NaN compares as false.
    return bool(np.einsum("ij,ij->", vectors, vectors) <= most**2 or (np.abs(vectors) <= most).all())
