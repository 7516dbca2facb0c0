"""Kinds of changes and their records in the log: arrays that are checked and computed before they are logged."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike import wire
from lookalike.v1 import filter_pb2, update_pb2
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.schema import ATTRIBUTE_TYPES
from lookalike_indexer.embedding.embedding_result import Classes
from lookalike_server.common.errors import ArgumentError

# Attribute values of one image by name; None means no value.
Values = Mapping[str, Any]
NO_VALUES: Values = {}


@dataclass(frozen=True)
class NewImages:
    """Images to add, or to replace those with the same key.

    `vectors` has (n, dim) for each space, as stored there. `sizes` (n, 3) are the bytes, width, and
    height of the images, 0 if unknown. `uris` say where the collection keeps the images, "" if
    vectors were given. `classes` has the predictions (n, top) of each model that keeps them.
    """

    keys: list[str]
    vectors: dict[str, Float32]
    labels: list[str]
    attributes: list[Values]
    formats: list[str]
    sizes: Int64
    uris: list[str]
    classes: Mapping[str, Classes] = field(default_factory=dict)


@dataclass(frozen=True)
class DeletedKeys:
    """Keys whose images are deleted."""

    keys: list[str]


@dataclass(frozen=True)
class Described:
    """Keys whose images get another label (None: unchanged) and other values of some attributes."""

    keys: list[str]
    label: str | None
    attributes: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Restored:
    """Ids of images that are undeleted."""

    ids: Int64


Change = NewImages | DeletedKeys | Described | Restored


def logged(change: Change) -> bytes:
    """Serialize a change for the log, without the ids of new images, which `logged_ids` serializes."""
    message = update_pb2.LoggedChange()
    if isinstance(change, DeletedKeys):
        message.delete.keys.extend(change.keys)
        message.delete.SetInParent()
    elif isinstance(change, Restored):
        message.restore.ids.CopyFrom(wire.encode(change.ids))
    elif isinstance(change, Described):
        message.set.keys.extend(change.keys)
        if change.label is not None:
            message.set.label = change.label
        message.set.attributes.extend(_columns([change.attributes]))
        message.set.SetInParent()
    else:
        _put_images(message, change)
    data: bytes = message.SerializeToString()
    return data


def logged_ids(ids: Int64) -> bytes:
    """Return what follows the record of new images: protobuf parses concatenated messages as one."""
    if not len(ids):
        return b""
    data: bytes = update_pb2.LoggedChange(ids=wire.encode(ids)).SerializeToString()
    return data


def read(payload: bytes) -> tuple[Change, Int64]:
    """Parse a record of the log. Return the change, and the ids of new images."""
    message = update_pb2.LoggedChange.FromString(payload)
    kind = message.WhichOneof("change")
    none = np.empty(0, np.int64)
    if kind == "delete":
        return DeletedKeys(list(message.delete.keys)), none
    if kind == "set":
        values = rows_of(message.set.attributes, 1)[0] if message.set.attributes else NO_VALUES
        label = message.set.label if message.set.HasField("label") else None
        return Described(list(message.set.keys), label, values), none
    if kind == "restore":
        return Restored(wire.decode(message.restore.ids)), none
    if kind != "upsert":
        raise ValueError("its kind is unknown")
    upsert = message.upsert
    keys = list(upsert.keys)
    vectors = {one.space: np.asarray(wire.decode(one.vectors.values), np.float32) for one in upsert.vectors}
    images = NewImages(
        keys,
        vectors,
        list(upsert.labels) or [""] * len(keys),
        rows_of(upsert.attributes, len(keys)),
        list(message.formats) or [""] * len(keys),
        wire.decode(message.sizes) if message.HasField("sizes") else np.zeros((len(keys), 3), np.int64),
        list(message.uris) or [""] * len(keys),
        {one.model: Classes(wire.decode(one.classes), wire.decode(one.probabilities)) for one in message.predictions},
    )
    return images, wire.decode(message.ids)


def _put_images(message: update_pb2.LoggedChange, change: NewImages) -> None:
    upsert = message.upsert
    upsert.keys.extend(change.keys)
    if any(change.labels):
        upsert.labels.extend(change.labels)
    if any(change.attributes):
        upsert.attributes.extend(_columns(change.attributes))
    for space, vectors in change.vectors.items():
        one = upsert.vectors.add(space=space)
        one.vectors.values.CopyFrom(wire.encode(vectors))
    if any(change.formats):
        message.formats.extend(change.formats)
        message.sizes.CopyFrom(wire.encode(change.sizes))
    if any(change.uris):
        message.uris.extend(change.uris)
    for model, classes in change.classes.items():
        said = message.predictions.add(model=model)
        said.classes.CopyFrom(wire.encode(classes.indexes))
        said.probabilities.CopyFrom(wire.encode(classes.probabilities))


def _columns(rows: Sequence[Values]) -> list[filter_pb2.AttributeValues]:
    """Convert rows of values to columns. The values determine each column's type."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [_column(name, [row.get(name) for row in rows]) for name in names]


def _column(name: str, values: Sequence[Any]) -> filter_pb2.AttributeValues:
    kind = next((_kind_of(value) for value in values if value is not None), "string")
    found = filter_pb2.AttributeValues(name=name, type=kind)
    nulls = [place for place, value in enumerate(values) if value is None]
    if nulls:
        found.nulls.CopyFrom(wire.encode(np.array(nulls, np.int64)))
    if kind == "string":
        found.texts.extend("" if value is None else value for value in values)
    elif kind == "list<string>":
        lists = [value or () for value in values]
        found.texts.extend(text for one in lists for text in one)
        found.offsets.CopyFrom(wire.encode(np.cumsum([0, *map(len, lists)]).astype(np.int64)))
    else:
        dtype = {"bool": np.bool_, "float64": np.float64}.get(kind, np.int64)
        plain = [0 if value is None else value.microseconds if isinstance(value, Time) else value for value in values]
        found.numbers.CopyFrom(wire.encode(np.array(plain, dtype)))
    return found


@dataclass(frozen=True)
class Time:
    """A time in microseconds since 1970, UTC."""

    microseconds: int


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (Time, int, float, str)):
        return {Time: "timestamp", int: "int64", float: "float64", str: "string"}[type(value)]
    return "list<string>"


def rows_of(columns: Sequence[filter_pb2.AttributeValues], rows: int) -> list[Values]:
    """Convert columns of a message to the values of each row; missing values are None.

    Raises ArgumentError if a column does not have one value per row, or is of an unknown type.
    """
    if not columns:
        return [NO_VALUES] * rows
    found: list[dict[str, Any]] = [{} for _ in range(rows)]
    for place, column in enumerate(columns):
        values = _values(column, rows, f"attributes[{place}]")
        for row, value in zip(found, values, strict=True):
            if column.name in row:
                raise ArgumentError(f"attributes[{place}]", f"The column {column.name!r} occurs twice.")
            row[column.name] = value
    return list(found)


def _values(column: filter_pb2.AttributeValues, rows: int, at: str) -> list[Any]:
    try:
        values = _read(column)
        nulls = wire.decode(column.nulls).tolist() if column.HasField("nulls") else []
    except (ValueError, IndexError) as error:
        raise ArgumentError(at, f"The column {column.name!r} cannot be read: {error}.") from error
    if len(values) != rows or not all(isinstance(place, int) and 0 <= place < rows for place in nulls):
        raise ArgumentError(at, f"The column {column.name!r} has {len(values)} values for {rows} images.")
    for place in nulls:
        values[place] = None
    return values


def _read(column: filter_pb2.AttributeValues) -> list[Any]:
    kind = column.type
    if kind not in ATTRIBUTE_TYPES:
        raise ValueError(f"{kind!r} is not a type; the types are {', '.join(ATTRIBUTE_TYPES)}")
    if kind == "string":
        return list(column.texts)
    if kind == "list<string>":
        offsets = wire.decode(column.offsets) if column.HasField("offsets") else np.zeros(1, np.int64)
        texts, ends = tuple(column.texts), offsets.ravel().tolist()
        if (
            not ends
            or ends[0] != 0
            or ends[-1] != len(texts)
            or any(start > end for start, end in itertools.pairwise(ends))
        ):
            raise ValueError("its offsets do not match its texts")
        return [texts[start:end] for start, end in itertools.pairwise(ends)]
    numbers = wire.decode(column.numbers) if column.HasField("numbers") else np.empty(0, np.int64)
    wanted = {"bool": np.bool_, "float64": np.float64}.get(kind, np.int64)
    if numbers.ndim != 1 or numbers.dtype != wanted:
        raise ValueError(f"it has numbers of {numbers.dtype} with {numbers.ndim} dimensions for {kind}")
    plain: list[Any] = numbers.tolist()
    if kind == "timestamp":
        return [Time(number) for number in plain]
    return [None if value != value else value for value in plain] if kind == "float64" else plain


def arrow(kind: str, values: Sequence[Any]) -> pa.Array:
    """Return the values of an attribute as an Arrow array."""
    if kind == "timestamp":
        numbers = pa.array([None if value is None else value.microseconds for value in values], pa.int64())
        return numbers.cast(pa.timestamp("us"))
    plain = [None if value is None else list(value) for value in values] if kind == "list<string>" else list(values)
    return pa.array(plain, ATTRIBUTE_TYPES[kind])
