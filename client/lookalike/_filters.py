"""Filters as Python expressions, which build the filter tree of a request."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np

from lookalike._errors import InvalidArgumentError
from lookalike.v1 import filter_pb2

_INT64: Final = np.iinfo(np.int64)
SIGNS: Final = {
    "=": filter_pb2.OPERATOR_EQUAL,
    "!=": filter_pb2.OPERATOR_NOT_EQUAL,
    "<": filter_pb2.OPERATOR_LESS,
    "<=": filter_pb2.OPERATOR_LESS_OR_EQUAL,
    ">": filter_pb2.OPERATOR_GREATER,
    ">=": filter_pb2.OPERATOR_GREATER_OR_EQUAL,
}

# A value to compare a column with.
Value: TypeAlias = bool | int | float | str | dt.date | np.generic


class Filter:
    """An expression that is true, false or unknown for each image. Images match if it is true.

    Join expressions with `&`, `|` and `~`, and put brackets around each comparison. A text
    is an expression, too, in the SQL syntax of docs/filters.md, which the server parses.

    >>> (lookalike.column("price") < 20) & "tags has 'sale'"
    <Filter all { filters { compare { column: "price" operator: OPERATOR_LESS value { integer: 20 } } } ...>
    """

    def __init__(self, text: str) -> None:
        """Make a filter of a text such as "price < 20"; the server reports syntax errors."""
        if not isinstance(text, str):
            raise InvalidArgumentError(f"A filter is a str or an expression of columns, not {text!r}.")
        self.message: filter_pb2.Filter = filter_pb2.Filter(text=checked_text(text))

    def __and__(self, other: Where) -> Filter:
        return _joined("all", self, other)

    def __rand__(self, other: Where) -> Filter:
        return _joined("all", other, self)

    def __or__(self, other: Where) -> Filter:
        return _joined("any", self, other)

    def __ror__(self, other: Where) -> Filter:
        return _joined("any", other, self)

    def __invert__(self) -> Filter:
        return filter_from(**{"not": self.message})

    def __bool__(self) -> bool:
        raise TypeError(
            "a filter is true or false of an image, not by itself; join filters by &, | and ~ in place of and, or "
            "and not, with brackets around each comparison"
        )

    def __repr__(self) -> str:
        text = " ".join(str(self.message).split())
        return f"<Filter {text if len(text) <= 100 else text[:97] + '...'}>"


class Comparable:
    """An operand of ==, !=, <, <=, > and >=, each of which returns a filter."""

    # == returns a filter, so these objects cannot be keys of a dict.
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __eq__(self, value: Value) -> Filter:  # type: ignore[override]
        return self._compared("=", value)

    def __ne__(self, value: Value) -> Filter:  # type: ignore[override]
        return self._compared("!=", value)

    def __lt__(self, value: Value) -> Filter:
        return self._compared("<", value)

    def __le__(self, value: Value) -> Filter:
        return self._compared("<=", value)

    def __gt__(self, value: Value) -> Filter:
        return self._compared(">", value)

    def __ge__(self, value: Value) -> Filter:
        return self._compared(">=", value)

    def between(self, least: Value, most: Value) -> Filter:
        """Return a filter for values from `least` to `most`, both included."""
        return (self >= least) & (self <= most)

    def __bool__(self) -> bool:
        raise TypeError("a column has a value for each image; write column('a').between(1, 3) for 1 <= a <= 3")

    def _compared(self, sign: str, value: Value) -> Filter:
        raise NotImplementedError


class Column(Comparable):
    """A column of the images: an attribute, or one of id, key, label, width, height, bytes and format.

    Compare it with ==, !=, <, <=, > and >=. A column of type bool is itself a filter.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"The name of a column is a str, not {name!r}.")
        self._name = checked_text(name)

    def isin(self, values: Iterable[Value]) -> Filter:
        """Return a filter for images whose value is in `values`; it matches no image if `values` is empty."""
        message = filter_pb2.In(column=self._name)
        flags: list[Filter] = []
        for value in several(values):
            plain = plain_value(value)
            if isinstance(plain, bool):
                flags.append(self == plain)
            elif isinstance(plain, str):
                message.texts.append(plain)
            elif isinstance(plain, int):
                message.integers.append(plain)
            else:
                message.numbers.append(plain)
        if not flags:
            return filter_from(**{"in": message})
        rest = [filter_from(**{"in": message})] if message.texts or message.integers or message.numbers else []
        return filter_from(any=filter_pb2.Filters(filters=[each.message for each in [*flags, *rest]]))

    def has(self, text: str) -> Filter:
        """Return a filter for images whose list of texts contains `text`."""
        if not isinstance(text, str):
            raise InvalidArgumentError(f"has() takes a str, not {text!r}, because lists hold texts.")
        return filter_from(has=filter_pb2.Has(column=self._name, text=checked_text(text)))

    def is_null(self) -> Filter:
        """Return a filter for images without a value."""
        return ~self.is_present()

    def is_present(self) -> Filter:
        """Return a filter for images with a value."""
        return filter_from(present=filter_pb2.Present(column=self._name))

    def __and__(self, other: Where) -> Filter:
        return self._is_true() & other

    def __rand__(self, other: Where) -> Filter:
        return _joined("all", other, self._is_true())

    def __or__(self, other: Where) -> Filter:
        return self._is_true() | other

    def __ror__(self, other: Where) -> Filter:
        return _joined("any", other, self._is_true())

    def __invert__(self) -> Filter:
        return ~self._is_true()

    def __repr__(self) -> str:
        return f"column({self._name!r})"

    def _is_true(self) -> Filter:
        """Return the filter for a bool column that is true."""
        return self._compared("=", True)

    def _compared(self, sign: str, value: Value) -> Filter:
        plain = plain_value(value)
        message = filter_pb2.Value()
        kind = {bool: "boolean", int: "integer", float: "number", str: "text"}[type(plain)]
        setattr(message, kind, plain)
        return filter_from(compare=filter_pb2.Compare(column=self._name, operator=SIGNS[sign], value=message))


# The types that `where` accepts.
Where: TypeAlias = str | Filter | Column


def column(name: str) -> Column:
    """Return a column of the images for comparisons, such as `lookalike.column("price") < 20`.

    `name` is an attribute, or one of id, key, label, width, height, bytes and format. Besides operators, a
    column has the methods isin, between, has, is_null and is_present. InvalidArgumentError: `name` is no str or empty.

    >>> lookalike.column("label").isin(["cats", "dogs"]) | ~lookalike.column("sharp")
    <Filter any { filters { in { column: "label" texts: "cats" texts: "dogs" } } filters { not { compare { c...>
    """
    return Column(name)


def message_of(where: Where | None) -> filter_pb2.Filter | None:
    """Return the message of a filter, None for None. InvalidArgumentError: `where` is no filter."""
    if where is None:
        return None
    if isinstance(where, Column):
        return where._is_true().message
    return where.message if isinstance(where, Filter) else Filter(where).message


def several(values: Iterable[Value]) -> Iterable[Value]:
    """Return `values`; raise InvalidArgumentError if it is a single value."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"isin() takes a sequence of values, not {values!r}.")
    return values


def _joined(kind: str, one: Where, other: Where) -> Filter:
    """Join both sides; a side that is already a list of the same kind is flattened."""
    parts: list[filter_pb2.Filter] = []
    for side in (one, other):
        message = message_of(side)
        if message is None:
            raise InvalidArgumentError("None is not a filter.")
        inner = getattr(message, kind).filters if message.WhichOneof("kind") == kind else [message]
        parts.extend(inner)
    return filter_from(**{kind: filter_pb2.Filters(filters=parts)})


def filter_from(**fields: Any) -> Filter:
    """Return the filter of a message with these fields."""
    found = Filter.__new__(Filter)
    found.message = filter_pb2.Filter(**fields)
    return found


def plain_value(value: object) -> bool | int | float | str:
    """Convert a value to a Python value; raise InvalidArgumentError if a column cannot be compared with it."""
    if isinstance(value, np.datetime64):
        value = str(value.astype("M8[us]"))
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dt.date):
        value = value.isoformat()
    if value is None:
        raise InvalidArgumentError("A comparison with None is true of nothing; write column(...).is_null().")
    if isinstance(value, float) and math.isnan(value):
        raise InvalidArgumentError("Cannot compare with NaN; pass a number.")
    if isinstance(value, int) and not _INT64.min <= value <= _INT64.max:
        raise InvalidArgumentError(f"{value} does not fit into 64 bits, as all values of columns do.")
    if isinstance(value, str):
        return checked_text(value)
    for kind in (bool, int, float):
        # Subclasses become their base type.
        if isinstance(value, kind):
            return kind(value)
    raise InvalidArgumentError(f"A column is compared with bool, int, float, str or a time, not with {value!r}.")


def checked_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"The text {text!r} is not valid Unicode.") from error
    return text
