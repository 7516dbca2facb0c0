"""Supported types of attributes, and the conversion of other column types."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.collection.schema import ATTRIBUTE_TYPES
from lookalike_indexer.errors import UsageError

# Columns that every image has, whose names attributes cannot use. `label` corrects the labels, see labels.py.
RESERVED = ("id", "key", "uri", "width", "height", "bytes", "format", "distance", "margin", "probability")

_TYPES = ", ".join(ATTRIBUTE_TYPES)


def kind_of(kind: pa.DataType) -> str | None:
    """Return the name of the attribute type for an Arrow type; None if there is none.

    Integers become int64; decimals and floats float64; dates and timestamps timestamps in UTC; lists of strings stay.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "float64"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "timestamp"
    if is_text(kind) or pa.types.is_null(kind):
        return "string"
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return "list<string>" if is_list and is_text(kind.value_type) else None


def is_text(kind: pa.DataType) -> bool:
    """Return whether it is one of Arrow's string types."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def checked_kind(name: str, text: str) -> str:
    """Return the name of the type that a user gave for a column; UsageError lists the supported ones."""
    kind = {"list": "list<string>", "int": "int64", "float": "float64"}.get(text, text)
    if kind not in ATTRIBUTE_TYPES:
        raise UsageError(f"{text!r} is not a type for the column {name!r}; the types are: {_TYPES}.")
    return kind


def check_name(name: str) -> None:
    """Raise UsageError if an attribute cannot have this name."""
    if name in RESERVED:
        raise UsageError(
            f"The column {name!r} would hide a field that every image has; rename it, or leave it out with --columns."
        )
    if not name or len(name) > 128 or not name.isprintable():
        raise UsageError(f"{name!r} cannot be the name of a column; use 1 to 128 printable characters.")


def cast(array: pa.Array, kind: str) -> pa.Array:
    """Convert an Arrow array to the type with this name; pa.ArrowException: a value does not fit.

    NaN becomes null: tables use it for missing values. Null elements are removed from their list.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if kind == "timestamp":
        return _utc(array)
    if kind == "list<string>":
        return _without_nulls(array)
    found = array.cast(ATTRIBUTE_TYPES[kind])
    return pc.if_else(pc.is_nan(found), None, found) if kind == "float64" else found


def _utc(array: pa.Array) -> pa.Array:
    """Return timestamps or dates as microseconds in UTC, without a zone; a time without a zone is taken as UTC."""
    if getattr(array.type, "tz", None) is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC")).cast(pa.timestamp(array.type.unit))
    # Fractions of a microsecond are truncated.
    return (
        array.cast(ATTRIBUTE_TYPES["timestamp"], safe=False)
        if _is_finer(array)
        else array.cast(ATTRIBUTE_TYPES["timestamp"])
    )


def _is_finer(array: pa.Array) -> bool:
    return bool(pa.types.is_timestamp(array.type) and array.type.unit == "ns")


def _without_nulls(array: pa.Array) -> pa.Array:
    lists = array.cast(pa.list_(pa.string()))
    if not lists.flatten().null_count:
        return lists
    return pa.array(
        [None if one is None else [text for text in one if text is not None] for one in lists.to_pylist()],
        pa.list_(pa.string()),
    )
