"""Queries of every kind as vectors of one space."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike import wire
from lookalike.v1 import types_pb2
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.spec import IMPORTED, OPEN_CLIP
from lookalike_indexer.embedding.query_text import Text, refusal
from lookalike_indexer.errors import DecodeError, MismatchError, NotFoundError, WeightsError
from lookalike_indexer.images.image_box import Boxed
from lookalike_server.batching.workers import Workers
from lookalike_server.common import call_record as record
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.query.distinct import Distinct
from lookalike_server.query.query_vectors import Queries

# A front process needs no queue, so it does not load faiss.
if TYPE_CHECKING:
    from lookalike_server.processes.embedding import EmbedQueue

# The squared Euclidean distance of larger values exceeds float32, so nothing would be found.
_LARGEST = 1e15

# Copying this many bytes of vectors or images costs as much as looking up one image.
_PER_ITEM = 1 << 14
# Assumed bytes of a call whose size is unknown.
_UNKNOWN = 1 << 40

_FLOATS = (np.dtype("<f4"), np.dtype("<f2"))


class Resolver:
    """Resolver of queries of every kind to vectors; of images and texts only if there is a queue for them."""

    def __init__(self, limits: Limits, workers: Workers, embed_queue: EmbedQueue | None) -> None:
        self._limits = limits
        self._workers = workers
        self._embed_queue = embed_queue

    async def vectors(
        self,
        snapshot: Snapshot,
        space: Space,
        batch: types_pb2.QueryBatch,
        deadline: float | None,
        row_errors: bool = False,
    ) -> Queries:
        """Return the vectors of a batch of queries. With `row_errors`, an error fails only its own row.

        Raises ArgumentError if the batch is malformed, empty, or beyond the limits, NotFoundError
        for an unknown key or id, and MismatchError for vectors of another space. Raises DecodeError
        for an image that cannot be decoded or a text of too many tokens, and WeightsError if there
        is no network to embed it.
        """
        started = time.perf_counter()
        kind = self.checked_kind(batch)
        own = None
        failed: dict[int, str] = {}
        if kind == "vectors":
            vectors, distinct = await self._workers.run_lookup(lambda: _checked_vectors(space, batch.vectors), _items())
        elif kind == "images":
            files, distinct = await self._workers.run_lookup(lambda: _pictures(batch.images), _items())
            failed = self._too_large(files)
            if failed and not row_errors:
                raise ArgumentError("query.images", next(iter(failed.values())))
            vectors = await self._embedded(snapshot, space, files, distinct, failed, deadline, row_errors)
        elif kind == "texts":
            _check_takes_text(space)
            texts = [Text(value) for value in batch.texts.values]
            distinct, failed = Distinct.of(texts), self._unfit(texts)
            if failed and not row_errors:
                raise ArgumentError("query.texts", next(iter(failed.values())))
            vectors = await self._embedded(snapshot, space, texts, distinct, failed, deadline, row_errors)
        else:
            reading = time.perf_counter()
            own, vectors, distinct, failed = await self._workers.run(
                lambda: self._read(snapshot, space, batch, row_errors), count_of(batch)
            )
            record.stage("read", reading, time.perf_counter() - reading)
        resolve_us = round((time.perf_counter() - started) * 1e6)
        queries = Queries(vectors, own, distinct, resolve_us, len(vectors), np.arange(len(vectors)))
        return queries.without(failed) if failed else queries

    def _read(
        self, snapshot: Snapshot, space: Space, batch: types_pb2.QueryBatch, row_errors: bool
    ) -> tuple[Int64, Float32, Distinct, dict[int, str]]:
        """Return the ids and vectors of stored images. Each vector is read once, however often it is named.

        With `row_errors`, also return the errors by row; vectors of those rows are zero.
        """
        names = _names(batch)
        own, failed = self.stored(snapshot, batch, row_errors)
        distinct = Distinct.of(own.tolist())
        firsts = np.array(distinct.first)
        if row_errors:
            failed |= _without_embedding(space, own, names, failed)
        if not failed:
            return own, _checked(space.vectors(space.rows_of_ids(own, names)[firsts]))[distinct.inverse], distinct, {}
        there = ~np.isin(firsts, list(failed))
        vectors = np.zeros((len(firsts), space.entry.dim), np.float32)
        found = firsts[there]
        rows = space.rows_of_ids(own[found], [names[row] for row in found.tolist()])
        vectors[there] = _checked(space.vectors(rows))
        return own, vectors[distinct.inverse], distinct, failed

    async def _embedded(
        self,
        snapshot: Snapshot,
        space: Space,
        files: Sequence[bytes | Boxed | Text],
        distinct: Distinct,
        failed: dict[int, str],
        deadline: float | None,
        row_errors: bool,
    ) -> Float32:
        """Return the vectors of images or texts. Each is embedded once, however often the call contains it.

        Rows in `failed` are not embedded. Rows that cannot be embedded are added to it. The vectors
        of both are zero.
        """
        if self._embed_queue is None:
            raise RuntimeError("another process embeds images")
        places = [place for place, first in enumerate(distinct.first) if first not in failed]
        sent = [distinct.first[place] for place in places]
        asked = time.perf_counter()
        try:
            answer = await self._embed_queue.embed(
                snapshot, space.name, [files[row] for row in sent], deadline, row_errors
            )
        except DecodeError as error:
            raise error if error.position is None else error.at_position(sent[error.position]) from error
        taken = record.stage("queue", asked, answer.queue_us / 1e6)
        decoded = record.stage("decode", taken, answer.result.decode_s)
        record.stage("embed", decoded, answer.result.network_s)
        undecoded = {places[position]: reason for position, reason in answer.result.failed.items()}
        for row, place in enumerate(distinct.inverse):
            if place in undecoded:
                failed[row] = refusal(row, files[row], undecoded[place])
        vectors = np.zeros((len(distinct.first), space.entry.dim), np.float32)
        vectors[places] = _checked(answer.result.vectors)
        return vectors[distinct.inverse]

    def checked_kind(self, batch: types_pb2.QueryBatch) -> str:
        """Return the kind of a batch, such as "vectors". Raises ArgumentError if it is empty or too large."""
        kind = batch.WhichOneof("kind")
        if kind is None:
            raise ArgumentError("query", "The call has no query; set one of vectors, images, keys, ids and texts.")
        count = count_of(batch)
        if not 1 <= count <= self._limits.max_batch:
            raise ArgumentError(
                f"query.{kind}", f"The call has {count} queries; it must have 1 to {self._limits.max_batch}."
            )
        if kind == "images" and len(batch.images.boxes) not in (0, count):
            raise ArgumentError(
                "query.images.boxes", f"The call has {len(batch.images.boxes)} boxes for {count} images."
            )
        return kind

    def stored(
        self, snapshot: Snapshot, batch: types_pb2.QueryBatch, row_errors: bool = False
    ) -> tuple[Int64, dict[int, str]]:
        """Return the ids of a batch by key or id, and the errors by row of those that are not stored. Their id is -1.

        Without `row_errors`, raises NotFoundError for the first of them instead.
        """
        columns, names = snapshot.columns, _names(batch)
        find = columns.ids_of_keys if batch.WhichOneof("kind") == "keys" else columns.known_ids
        if not row_errors:
            return find(names), {}
        ids, failed = np.full(len(names), -1, np.int64), {}
        for row, name in enumerate(names):
            try:
                ids[row] = find([name])[0]
            except NotFoundError as error:
                failed[row] = f"Query {row}: {error}"
        return ids, failed

    def _unfit(self, texts: Sequence[Text]) -> dict[int, str]:
        """Return the errors of texts that are empty or too long, by row."""
        most = self._limits.max_query_text_bytes
        failed = {row: f"Text {row} is empty." for row, text in enumerate(texts) if not text.value.strip()}
        return failed | {
            row: f"Text {row} has {len(text)} bytes; the limit is {most}, which is max_query_text_bytes."
            for row, text in enumerate(texts)
            if len(text) > most
        }

    def _too_large(self, files: Sequence[bytes | Boxed | Text]) -> dict[int, str]:
        """Return the errors of images that are too large, by row."""
        most = self._limits.max_image_bytes
        return {
            row: f"Image {row} has {len(data)} bytes; the limit is {most}."
            for row, data in enumerate(files)
            if len(data) > most
        }


def _check_takes_text(space: Space) -> None:
    """Raise WeightsError if the space's model takes no texts, and MismatchError if its index is not for cosine."""
    if space.arch == IMPORTED:
        raise WeightsError(
            f"The space {space.name} cannot be searched by text: its vectors were imported, and no model is known that "
            "made them. Ask with a key or a vector, or in a space of --model open_clip/NAME."
        )
    if not space.takes_text:
        known = f"layer {space.entry.layer} of {space.arch}" if space.arch.startswith(OPEN_CLIP) else space.arch
        raise WeightsError(
            f"The space {space.name} cannot be searched by text: its model {known} embeds images only. Search with "
            "an image, a key or a vector, or in a space of --model open_clip/NAME."
        )
    if space.index is not None and space.index.metric != "cosine":
        raise MismatchError(
            f"The space {space.name} cannot be searched by text: its index measures {space.index.metric} distances, "
            "and texts are near to images by cosine. Build an index with --metric cosine."
        )


def _items() -> int:
    """Return the cost of copying this call's queries, in image look-ups."""
    size = record.request_bytes()
    return (_UNKNOWN if size is None else size) // _PER_ITEM


def _names(batch: types_pb2.QueryBatch) -> Sequence[Any]:
    """Return the keys or ids of a batch."""
    return batch.keys.values if batch.WhichOneof("kind") == "keys" else batch.ids.values


def _without_embedding(space: Space, ids: Int64, names: Sequence[Any], failed: Mapping[int, str]) -> dict[int, str]:
    """Return the errors of stored images without an embedding in the space, by row, except those in `failed`."""
    found: dict[int, str] = {}
    for row, name in enumerate(names):
        if row not in failed:
            try:
                space.rows_of_ids(ids[row : row + 1], [name])
            except NotFoundError as error:
                found[row] = f"Query {row}: {error}"
    return found


def _pictures(images: types_pb2.Images) -> tuple[list[bytes | Boxed], Distinct]:
    """Return copies of the images of a call, with their boxes if given, and which of them are distinct."""
    files: list[bytes | Boxed] = list(images.data)
    if images.boxes:
        files = [
            Boxed(data, (box.x, box.y, box.width, box.height)) if box.width or box.height else data
            for data, box in zip(images.data, images.boxes, strict=True)
        ]
    return files, Distinct.of(files)


def count_of(batch: types_pb2.QueryBatch) -> int:
    """Return the number of queries that a batch claims to have; 0 if it is empty."""
    kind = batch.WhichOneof("kind")
    if kind is None:
        return 0
    if kind == "vectors":
        shape = batch.vectors.values.shape
        return int(shape[0]) if len(shape) else 0
    return len(batch.images.data if kind == "images" else getattr(batch, kind).values)


def _checked_vectors(space: Space, vectors: types_pb2.Vectors) -> tuple[Float32, Distinct]:
    """Return the checked vectors of a call, and which of them are distinct."""
    values = _checked(_decoded_vectors(space, vectors))
    return values, Distinct.of([row.tobytes() for row in values])


def _decoded_vectors(space: Space, vectors: types_pb2.Vectors) -> Float32:
    theirs = vectors.space_fingerprint
    if theirs and theirs != space.entry.fingerprint:
        raise MismatchError(
            f"The query's vectors were embedded in the space with fingerprint {theirs}; this server's space is "
            f"{space.described} with fingerprint {space.entry.fingerprint}; "
            "embed them with that model, or send images."
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
    """Return the vectors. Raises ArgumentError if a value is NaN, infinite, or too large."""
    if not _within(vectors, _LARGEST):
        raise ArgumentError("query", f"A query holds NaN, infinite values or values beyond {_LARGEST:g}.")
    return vectors


def _within(vectors: Float32, most: float) -> bool:
    """Return whether no value is larger than `most`, infinite, or NaN."""
    # No value exceeds the root of the sum of squares, which saves a pass over the data. NaN compares as false.
    return bool(np.einsum("ij,ij->", vectors, vectors) <= most**2 or (np.abs(vectors) <= most).all())
