"""Vectors and attributes of images to add, in the form in which they will be stored."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lookalike import wire
from lookalike.v1 import filter_pb2, update_pb2
from lookalike_indexer.arrays import Float32
from lookalike_indexer.embedding.embedding_result import Classes
from lookalike_indexer.errors import MismatchError
from lookalike_indexer.filters.sources import OF_IMAGES, FilterColumns
from lookalike_server.batching.workers import Workers
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.live.changes import Values, rows_of
from lookalike_server.processes.embedding import EmbedQueue

_LONGEST_KEY = 4096
_FLOATS = (np.dtype("<f4"), np.dtype("<f2"))
# As for queries: the squared distance of larger values exceeds float32.
_LARGEST = 1e15
_ORIENTATION = 0x0112


class Picture(NamedTuple):
    """Metadata of an image: its format, bytes, width, and height; empty if vectors were given."""

    format: str = ""
    sizes: tuple[int, int, int] = (0, 0, 0)


class EmbeddedUpsert(NamedTuple):
    """New images in every space.

    `vectors` has (n, dim) for each space, `pictures` the metadata of each image, and `failed` the
    errors by row. `classes` has the predictions (n, top) of each model that keeps them. `files` are
    the images themselves, empty if vectors were given.
    """

    vectors: dict[str, Float32]
    pictures: list[Picture]
    failed: dict[int, str]
    classes: dict[str, Classes]
    files: list[bytes]


class NewVectors:
    """Takes the vectors of a request, or embeds its images."""

    def __init__(self, limits: Limits, workers: Workers, embed_queue: EmbedQueue) -> None:
        self._limits, self._workers, self._embed_queue = limits, workers, embed_queue

    async def embed(
        self, snapshot: Snapshot, request: update_pb2.UpsertRequest, deadline: float | None
    ) -> EmbeddedUpsert:
        """Return the images' vectors and metadata.

        Raises ArgumentError if vectors are malformed or missing for a space, and MismatchError for
        vectors of another space. Raises WeightsError if there is no network to embed images.
        """
        count = len(request.keys)
        if request.vectors:
            taken = await self._workers.run(lambda: _checked_vectors(snapshot, request), count)
            return EmbeddedUpsert(taken, [Picture()] * count, {}, {}, [])
        given: list[bytes] = await self._workers.run(lambda: list(request.images), count)
        failed = {
            row: f"Image {row} has {len(data)} bytes; the limit is {self._limits.max_image_bytes}."
            for row, data in enumerate(given)
            if len(data) > self._limits.max_image_bytes
        }
        sent = [row for row in range(count) if row not in failed]
        found: dict[str, Float32] = {}
        classes: dict[str, Classes] = {}
        for name, space in snapshot.spaces.items():
            vectors = np.zeros((count, space.entry.dim), np.float32)
            if sent:
                files = [given[row] for row in sent]
                answer = await self._embed_queue.embed(snapshot, name, files, deadline, row_errors=True)
                vectors[sent] = answer.result.vectors
                self._predict(snapshot, space.entry.model, answer.result.classes, sent, count, classes)
                for position, reason in answer.result.failed.items():
                    failed[sent[position]] = f"Image {sent[position]} cannot be decoded: {reason}."
            found[name] = _as_stored(space, vectors)
        pictures = await self._workers.run(
            lambda: [Picture() if row in failed else _header_metadata(data) for row, data in enumerate(given)],
            count,
        )
        return EmbeddedUpsert(found, pictures, failed, classes, given)

    @staticmethod
    def _predict(
        snapshot: Snapshot, model: str, told: Classes | None, sent: list[int], count: int, into: dict[str, Classes]
    ) -> None:
        """Store the predictions of a model, if it keeps them and they are not stored yet."""
        if told is None or model in into or not snapshot.reader.manifest.models[model].predictions:
            return
        top = told.indexes.shape[1]
        found = Classes(np.zeros((count, top), np.int32), np.zeros((count, top), np.float32))
        found.indexes[sent], found.probabilities[sent] = told.indexes, told.probabilities
        into[model] = found


def _checked_vectors(snapshot: Snapshot, request: update_pb2.UpsertRequest) -> dict[str, Float32]:
    found: dict[str, Float32] = {}
    for place, given in enumerate(request.vectors):
        at = f"vectors[{place}]"
        space = snapshot.space(given.space)
        if space.name in found:
            raise ArgumentError(at, f"The space {space.name} occurs twice.")
        found[space.name] = _checked(space, given, len(request.keys), at)
    lacking = [name for name in snapshot.spaces if name not in found]
    if lacking:
        raise ArgumentError(
            "vectors",
            f"The call has no vectors of the space {lacking[0]}; send vectors of every space of the collection: "
            f"{', '.join(snapshot.spaces)}.",
        )
    return found


def _checked(space: Space, given: update_pb2.SpaceVectors, count: int, at: str) -> Float32:
    theirs = given.vectors.space_fingerprint
    if theirs and theirs != space.entry.fingerprint:
        raise MismatchError(
            f"The vectors were embedded in the space with fingerprint {theirs}; the collection's space is "
            f"{space.described} with fingerprint {space.entry.fingerprint}; embed them with that model, or send "
            "images."
        )
    try:
        values = wire.decode(given.vectors.values)
    except ValueError as error:
        raise ArgumentError(f"{at}.vectors.values", f"The vectors cannot be read: {error}.") from error
    if values.dtype not in _FLOATS:
        raise ArgumentError(f"{at}.vectors.values", f"Vectors must be float32 or float16, not {values.dtype}.")
    if values.shape != (count, space.entry.dim):
        raise ArgumentError(
            f"{at}.vectors.values",
            f"The vectors have shape {values.shape}; {count} images in the space {space.name} need "
            f"({count}, {space.entry.dim}).",
        )
    vectors = _as_stored(space, np.asarray(values, np.float32))
    # Written so that NaN is rejected as well.
    if not (np.abs(vectors) <= _LARGEST).all():
        kind = f", which are stored as {space.entry.dtype}" if space.entry.dtype != "float32" else ""
        raise ArgumentError(
            f"{at}.vectors.values", f"A vector holds NaN, infinite values or values that are too large{kind}."
        )
    return vectors


def _as_stored(space: Space, vectors: Float32) -> Float32:
    """Return vectors rounded to the space's type, so that they stay the same in the next generation."""
    if space.entry.dtype == "float32":
        return vectors
    with np.errstate(over="ignore"):
        return vectors.astype(space.entry.dtype).astype(np.float32)


def _header_metadata(data: bytes) -> Picture:
    """Return the metadata in the header of an image, which was decoded before."""
    # Imported here, because it would delay the startup of servers that accept no changes.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            if picture.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
                width, height = height, width
            return Picture(picture.format or "", (len(data), width, height))
    except Exception:
        # It was embedded nevertheless, and nothing depends on its size.
        return Picture("", (len(data), 0, 0))


def checked_keys(keys: Sequence[str], limits: Limits) -> list[str]:
    """Return the keys. Raises ArgumentError if there are too many, or one is invalid."""
    if not 1 <= len(keys) <= limits.max_batch:
        raise ArgumentError("keys", f"The call has {len(keys)} images; it must have 1 to {limits.max_batch}.")
    for place, key in enumerate(keys):
        if not key or len(key.encode(errors="replace")) > _LONGEST_KEY or "\0" in key:
            raise ArgumentError(f"keys[{place}]", f"A key must have 1 to {_LONGEST_KEY} bytes, none of them zero.")
    return list(keys)


def checked_values(
    given: Sequence[filter_pb2.AttributeValues], rows: int, columns: FilterColumns, limits: Limits
) -> list[Values]:
    """Return the attribute values of each row.

    Raises ArgumentError if the collection lacks such an attribute, or has it with another type.
    """
    if len(given) > limits.max_names:
        raise ArgumentError("attributes", f"The call has {len(given)} attributes; the limit is {limits.max_names}.")
    for place, column in enumerate(given):
        at = f"attributes[{place}]"
        kind: Any = None if column.name in OF_IMAGES else columns.kinds.get(column.name)
        if kind is None:
            there = ", ".join(columns.attributes) or "none"
            raise ArgumentError(
                at,
                f"The collection has no attribute {column.name!r}; it has: {there}. "
                "Attach a table with that column first.",
            )
        fits = column.type == kind or (column.type, kind) == ("int64", "float64")
        # A column without any value does not determine a type.
        empty = column.type == "string" and column.HasField("nulls") and not any(column.texts)
        if not fits and not empty:
            raise ArgumentError(at, f"The attribute {column.name!r} is {kind}, not {column.type or 'untyped'}.")
    floats = [column.name for column in given if columns.kinds[column.name] == "float64"]
    return [_with_floats(row, floats) for row in rows_of(given, rows)]


def _with_floats(values: Values, names: Sequence[str]) -> Values:
    return {name: float(value) if name in names and value is not None else value for name, value in values.items()}
