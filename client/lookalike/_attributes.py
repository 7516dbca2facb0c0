"""Attribute values of a result: columns by name, with one value for each row."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, overload

import numpy as np

from lookalike import wire
from lookalike.v1 import filter_pb2

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Attributes(Mapping[str, tuple[Any, ...]]):
    """The columns requested with `fields`, by name: one value for each row, None where a row has no value.

    Values are bool, int, float, str, a tuple of str, or a datetime in UTC. A slice
    returns the same columns for some of the rows.
    """

    def __init__(self, columns: Mapping[str, tuple[Any, ...]] | None = None) -> None:
        self._columns = dict(columns or {})

    @overload
    def __getitem__(self, name: str) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, name: slice) -> Attributes: ...
    def __getitem__(self, name: str | slice) -> tuple[Any, ...] | Attributes:
        if isinstance(name, slice):
            return Attributes({each: values[name] for each, values in self._columns.items()})
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"<Attributes {', '.join(self._columns) or 'none'}>"

    def row(self, index: int) -> dict[str, Any]:
        """Return the values of one row by column name."""
        return {name: values[index] for name, values in self._columns.items()}

    def take(self, rows: Sequence[int]) -> Attributes:
        """Return the columns for the given rows, in that order."""
        return Attributes({name: tuple(values[row] for row in rows) for name, values in self._columns.items()})

    def beside(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Return `columns` followed by these columns; a name that `columns` already has gets the prefix "@"."""
        return {**columns, **{f"@{name}" if name in columns else name: each for name, each in self._columns.items()}}


NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})


def read(messages: Sequence[filter_pb2.AttributeValues], rows: int) -> Attributes:
    """Read the columns of a reply; raise ValueError if a column does not have one value for each row."""
    return Attributes({message.name: _values(message, rows) for message in messages})


def _values(message: filter_pb2.AttributeValues, rows: int) -> tuple[Any, ...]:
    values = _present(message)
    if len(values) != rows:
        raise ValueError(f"{rows} rows have {len(values)} values of {message.name!r}")
    if message.HasField("nulls"):
        for place in wire.decode(message.nulls).tolist():
            if not 0 <= place < rows:
                raise ValueError(f"the value {place} of {message.name!r} names a row out of range")
            values[place] = None
    return tuple(values)


def _present(message: filter_pb2.AttributeValues) -> list[Any]:
    """Return the values of a column, with arbitrary values where the row has none."""
    if message.type == "string":
        return list(message.texts)
    if message.type == "list<string>":
        ends = wire.decode(message.offsets).tolist() if message.HasField("offsets") else [0]
        texts = tuple(message.texts)
        return [texts[start:end] for start, end in itertools.pairwise(ends)]
    numbers: list[Any] = wire.decode(message.numbers).tolist() if message.HasField("numbers") else []
    return [_time(number) for number in numbers] if message.type == "timestamp" else numbers


def _time(microseconds: int) -> Any:
    """Return a datetime in UTC, or a numpy.datetime64 outside the range of datetime."""
    try:
        return _EPOCH + dt.timedelta(microseconds=microseconds)
    except OverflowError:
        return np.datetime64(microseconds, "us")
