"""Choice of the columns of a Parquet file that hold the images, their keys and their labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.sources.keytable import KeyTable

_IMAGE_NAMES = ("image", "bytes", "img")
_KEY_BATCH = 4096
_BUFFER = 1 << 20


class NoImagesError(UsageError):
    """A Parquet file without a column of images."""


@dataclass(frozen=True)
class ParquetColumns:
    """The columns to read, as paths of leaves ("image" or "image.bytes").

    `key` is None if the row's number is the key, `label` if there are no labels. `classes` are the names that integer
    labels stand for; it is empty if labels are used unchanged.
    """

    image: str
    key: str | None
    label: str | None
    classes: tuple[str, ...] = ()


def columns_of(file: pq.ParquetFile, path: str) -> ParquetColumns:
    """Choose the columns of an open Parquet file at `path`.

    The image is the column `image`, `bytes` or `img`, or else the only column of the Hugging Face type struct<bytes,
    path>. The key is the column `key`, else the image's path if all paths are unique, else the row's number. The label
    is the column `label`, else the only ClassLabel of the schema's "huggingface" metadata.

    Raise UsageError if there is no image column, or a column has another type; the message names it.
    """
    schema = file.schema_arrow
    features = _features(schema)
    name = _image_name(schema, path)
    column = schema.field(name).type
    image = f"{name}.bytes" if pa.types.is_struct(column) else name
    if not _is_binary(_leaf(column, "bytes")):
        raise UsageError(
            f"The column {name} of {path} has the type {column}; images must be binary, or a struct of bytes and path."
        )
    label = _label_name(schema, features)
    classes = tuple(features.get(label, {}).get("names") or ()) if label else ()
    if label:
        _check_label(schema.field(label).type, label, path)
    if "key" in schema.names:
        _check_key(schema.field("key").type, path)
        return ParquetColumns(image, "key", label, classes)
    if not pa.types.is_struct(column):
        raise UsageError(
            f"{path} has the columns {', '.join(schema.names)}: a Parquet source needs the columns key and image "
            "(or bytes), and may have label."
        )
    by_path = f"{name}.path"
    has_paths = _is_text(_leaf(column, "path"))
    return ParquetColumns(image, by_path if has_paths and _unique(file, by_path, path) else None, label, classes)


def leaves(batch: pa.RecordBatch, column: str) -> pa.Array:
    """Return a leaf column of a batch; it is null where its struct is null."""
    name, _, leaf = column.partition(".")
    if name not in batch.schema.names:
        name, leaf = column, ""
    array = batch.column(name)
    return pc.struct_field(array, leaf) if leaf else array


def keys_of(file: pq.ParquetFile, columns: ParquetColumns, path: str) -> Iterator[str]:
    """Yield the key of each row, in order. Raise IndexerError if a row has no key, or the file cannot be read."""
    if columns.key is None:
        yield from (str(row) for row in range(file.metadata.num_rows))
        return
    row = 0
    for batch in batches(file, [columns.key], path):
        for key in texts(leaves(batch, columns.key), columns.key, path):
            if not key:
                raise UsageError(f"Row {row} of {path} has no key; add a unique key to every row.")
            yield key
            row += 1


def batches(file: pq.ParquetFile, columns: list[str], path: str) -> Iterator[pa.RecordBatch]:
    """Yield batches of some columns. Raise IndexerError if the file is damaged."""
    try:
        yield from file.iter_batches(batch_size=_KEY_BATCH, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise IndexerError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def texts(array: pa.Array, column: str, path: str) -> list[str | None]:
    """Return an array as strings. Raise UsageError if a value is not UTF-8."""
    try:
        found: list[str | None] = array.cast(pa.string()).to_pylist()
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise UsageError(f"The column {column} of {path} has a text that is not UTF-8; rewrite the file.") from error
    return found


def open_parquet(path: str) -> pq.ParquetFile:
    """Open a Parquet file for reading page by page. Raise IndexerError if it is not Parquet."""
    try:
        # By default, pyarrow reads the whole column of a row group before its first batch.
        return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise IndexerError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return the features that Hugging Face's `datasets` writes into the schema; empty if there are none."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _image_name(schema: pa.Schema, path: str) -> str:
    for name in _IMAGE_NAMES:
        if name in schema.names:
            return name
    structs = [field.name for field in schema if _is_binary(_leaf(field.type, "bytes")) and field.type.num_fields]
    if len(structs) == 1:
        return str(structs[0])
    raise NoImagesError(
        f"{path} has the columns {', '.join(schema.names)}: a Parquet source needs the columns key and image "
        "(or bytes), and may have label."
    )


def _label_name(schema: pa.Schema, features: dict[str, dict[str, Any]]) -> str | None:
    if "label" in schema.names:
        return "label"
    classes = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    return classes[0] if len(classes) == 1 else None


def _leaf(kind: pa.DataType, name: str) -> pa.DataType:
    """Return the type of a struct's field, null if it has none; return another type unchanged."""
    if not pa.types.is_struct(kind):
        return kind
    position = kind.get_field_index(name)
    return kind.field(position).type if position >= 0 else pa.null()


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_key(kind: pa.DataType, path: str) -> None:
    if not _is_text(kind) and not pa.types.is_integer(kind):
        raise UsageError(f"The column key of {path} has the type {kind}; keys must be text or integers.")


def _check_label(kind: pa.DataType, name: str, path: str) -> None:
    if not _is_text(kind) and not pa.types.is_integer(kind) and not pa.types.is_null(kind):
        raise UsageError(f"The column {name} of {path} has the type {kind}; labels must be text or integers.")


def _unique(file: pq.ParquetFile, column: str, path: str) -> bool:
    def found() -> Iterator[str]:
        for batch in batches(file, [column], path):
            for key in texts(leaves(batch, column), column, path):
                if not key:
                    raise _NoKeyError
                yield key

    try:
        return KeyTable(found()).first_duplicate() is None
    except _NoKeyError:
        return False


class _NoKeyError(Exception):
    """A row whose image has no path."""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
