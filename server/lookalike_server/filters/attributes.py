"""Values of columns in a reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike import wire
from lookalike.v1 import filter_pb2
from lookalike_indexer.arrays import Int64
from lookalike_indexer.filters.columns import Kind
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.text import did_you_mean
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits

# Stands for every attribute of the collection.
ALL = "*"


def requested_columns(names: Iterable[str], columns: FilterColumns, limits: Limits, field: str) -> list[str]:
    """Return the distinct names of the requested columns.

    Raises ArgumentError if there are too many or an unknown one.
    """
    given = list(names)
    if len(given) > limits.max_names:
        raise ArgumentError(field, f"The call has {len(given)} {field}; the limit is {limits.max_names}.")
    asked: dict[str, None] = {}
    for name in given:
        if name == ALL:
            asked.update(dict.fromkeys(columns.attributes))
        elif name in columns.kinds:
            asked[name] = None
        else:
            those = did_you_mean(name, columns.kinds, "the columns are")
            raise ArgumentError(field, f"There is no column {name!r}{those}.")
    return list(asked)


def values(columns: FilterColumns, names: Sequence[str], rows: Int64) -> list[filter_pb2.AttributeValues]:
    """Return the values of some columns for some rows (n,) of the images. The first use reads a column."""
    return [_written(name, columns.kinds[name], columns.column(name).take(rows)) for name in names]


def _written(name: str, kind: Kind, array: pa.Array) -> filter_pb2.AttributeValues:
    found = filter_pb2.AttributeValues(name=name, type=kind)
    if array.null_count:
        found.nulls.CopyFrom(wire.encode(np.flatnonzero(pc.is_null(array).to_numpy(zero_copy_only=False))))
    if kind == "string":
        found.texts.extend(array.fill_null("").to_pylist())
    elif kind == "list<string>":
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy()
        found.offsets.CopyFrom(wire.encode(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)))
        found.texts.extend(pc.list_flatten(array).to_pylist())
    else:
        plain = array.cast(pa.int64()) if kind == "timestamp" else array
        filled = plain.fill_null(False if kind == "bool" else 0)
        found.numbers.CopyFrom(wire.encode(filled.to_numpy(zero_copy_only=False)))
    return found
