"""Results of experiments as messages: Arrow columns become tensors and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as kinds

from lookalike import wire
from lookalike.v1 import experiment_pb2
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.result import Result
from lookalike_server.common.limits import MIB, Limits

# Bytes of a reply besides its values: names, lengths, and `served`.
_AROUND = MIB


def checked(result: Result, limits: Limits) -> experiment_pb2.ExperimentResult:
    """Return a result that is sent as a whole. Raises UsageError if it is too large for a reply."""
    for name, table in result.tables.items():
        if table.num_rows > limits.max_table_rows:
            raise UsageError(
                f"The table {name} of this result has {table.num_rows} rows and the limit of a reply is "
                f"{limits.max_table_rows}; request less, or run the command locally on the collection.",
            )
    message = encoded(result)
    size = message.ByteSize()
    if size > limits.max_message_bytes - _AROUND:
        raise UsageError(
            f"This result has {size} bytes and the limit of a reply is {limits.max_message_bytes}; "
            "request less, or run the command locally on the collection.",
        )
    return message


def fitting(page: Result, limits: Limits) -> int:
    """Return how many rows of each table of a page fit into one reply, at least 1."""
    per_row = sum(table.nbytes / table.num_rows for table in page.tables.values() if table.num_rows)
    # Half, because the size of a text on the wire differs from that in memory.
    return max(1, int((limits.max_message_bytes - _AROUND) / 2 / max(1.0, per_row)))


def encoded(result: Result) -> experiment_pb2.ExperimentResult:
    """Return a result as a message."""
    return experiment_pb2.ExperimentResult(
        kind=result.kind,
        settings=[experiment_pb2.Setting(name=name, value=_setting(value)) for name, value in result.settings.items()],
        tables=[_table(name, table) for name, table in result.tables.items()],
        figures=[experiment_pb2.Figure(name=name, value=value) for name, value in result.figures.items()],
        findings=result.findings,
    )


def _setting(value: Setting) -> experiment_pb2.SettingValue:
    if value is None:
        return experiment_pb2.SettingValue()
    if isinstance(value, bool):
        return experiment_pb2.SettingValue(flag=value)
    if isinstance(value, int):
        return experiment_pb2.SettingValue(integer=value)
    if isinstance(value, float):
        return experiment_pb2.SettingValue(number=value)
    if isinstance(value, str):
        return experiment_pb2.SettingValue(text=value)
    values = [_setting(one) for one in value]
    return experiment_pb2.SettingValue(list=experiment_pb2.SettingValues(values=values))


def _table(name: str, table: pa.Table) -> experiment_pb2.Table:
    columns = [_column(column, table.column(column)) for column in table.column_names]
    return experiment_pb2.Table(name=name, rows=table.num_rows, columns=columns)


def _column(name: str, chunks: pa.ChunkedArray) -> experiment_pb2.Column:
    array = _combined(chunks)
    column = experiment_pb2.Column(name=name)
    if array.null_count:
        column.nulls.CopyFrom(wire.encode(np.flatnonzero(array.is_null()).astype(np.int64)))
    if kinds.is_fixed_size_list(array.type) and _is_number(array.type.value_type) and not array.null_count:
        # `flatten` respects slices; `.values` does not.
        flat = _numbers(array.flatten())
        column.numbers.CopyFrom(wire.encode(flat.reshape(len(array), array.type.list_size)))
        return column
    if _is_list(array.type):
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        column.offsets.CopyFrom(wire.encode(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)))
        array = array.flatten()
    if _is_number(array.type):
        column.numbers.CopyFrom(wire.encode(_numbers(array)))
    else:
        column.texts.values.extend(_texts(name, array))
    return column


def _combined(chunks: pa.ChunkedArray) -> pa.Array:
    joined = chunks.combine_chunks()
    array = joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)
    return array.dictionary_decode() if kinds.is_dictionary(array.type) else array


def _is_list(kind: pa.DataType) -> bool:
    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind))


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    if kinds.is_boolean(array.type):
        return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
    if kinds.is_floating(array.type):
        # Nulls become NaN.
        return np.asarray(array.to_numpy(zero_copy_only=False), array.type.to_pandas_dtype())
    narrow = array.type.bit_width < 32 or array.type == pa.int32()
    filled = array.fill_null(0) if array.null_count else array
    return np.asarray(filled.to_numpy(zero_copy_only=False)).astype(np.int32 if narrow else np.int64, copy=False)


def _texts(name: str, array: pa.Array) -> Sequence[str]:
    if kinds.is_null(array.type):
        return [""] * len(array)
    if not (kinds.is_string(array.type) or kinds.is_large_string(array.type)):
        raise TypeError(f"the column {name} has the type {array.type}, which no reply can hold")
    texts: list[str] = array.fill_null("").to_pylist() if array.null_count else array.to_pylist()
    return texts
