"""Columns of images in memory, and the comparisons with their values.

A column has a value or none for each image. `test` returns a function from a range of rows to booleans, True if a
comparison is true; both it and its opposite are False if there is no value. Strings are stored as codes: their
positions among the column's distinct strings in sorted order, so that string comparisons become comparisons of small
integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Int32, Int64
from lookalike_indexer.filters.texts import SortedTexts
from lookalike_indexer.filters.tree import Operator, Value

Kind = Literal["bool", "int64", "float64", "string", "timestamp", "list<string>"]

# Returns whether a condition is true for the rows from the first number to before the second.
Test: TypeAlias = Callable[[int, int], Bools]

_COMPARE: dict[Operator, Any] = {
    "=": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


class Column(Protocol):
    """A column of one type. Values have that type: numbers for int64 and float64, microseconds for a timestamp."""

    kind: Kind

    @property
    def nbytes(self) -> int:
        """The memory of the column in bytes."""
        ...

    def test(self, operator: Operator, value: Any) -> Test:
        """Return a test of a comparison with a value."""
        ...

    def test_in(self, values: Iterable[Any], negated: bool) -> Test:
        """Return a test of membership in some values; `negated` means present but not among them."""
        ...

    def test_present(self, negated: bool) -> Test:
        """Return a test of whether there is a value, or none if `negated`."""
        ...

    def take(self, rows: Int64) -> pa.Array:
        """Return the values of some rows (n,), null if there is none."""
        ...

    def groups(self) -> tuple[Int32, int]:
        """Return groups of equal values: a number from 0 on for each row (rows,), -1 for none, and the number of
        groups.

        Raise TypeError if values of the type cannot be grouped.
        """
        ...


def constant(value: bool) -> Test:
    """Return a test that is True, or False, for all rows."""
    return lambda start, stop: np.full(stop - start, value, np.bool_)


class Numbers:
    """Numbers, booleans or times. `present` is None if every row has a value.

    The column owns the values: missing floats become NaN, for which comparisons are false.
    """

    def __init__(self, kind: Kind, values: npt.NDArray[Any], present: Bools | None) -> None:
        self.kind: Kind = kind
        self._values, self._present = values, present
        self._has_nan = present is not None and np.issubdtype(values.dtype, np.floating)
        if self._has_nan and present is not None:
            values[~present] = np.nan

    @property
    def nbytes(self) -> int:
        return int(self._values.nbytes) + (0 if self._present is None else self._present.nbytes)

    def test(self, operator: Operator, value: Value) -> Test:
        wanted = self._converted(operator, value)
        if isinstance(wanted, bool):
            return self.test_present(negated=False) if wanted else constant(False)
        compare, to = _COMPARE[wanted[0]], wanted[1]
        values, present = self._values, self._present
        if self._has_nan and wanted[0] != "!=":
            present = None

        def test(start: int, stop: int) -> Bools:
            found: Bools = compare(values[start:stop], to)
            if present is not None:
                found &= present[start:stop]
            return found

        return test

    def test_in(self, values: Iterable[Value], negated: bool) -> Test:
        found = [self._converted("=", value) for value in values]
        wanted = np.unique(np.array([one[1] for one in found if not isinstance(one, bool)], self._values.dtype))
        all_values, present = self._values, self._present

        def test(start: int, stop: int) -> Bools:
            there: Bools = np.isin(all_values[start:stop], wanted, invert=negated)
            if present is not None:
                there &= present[start:stop]
            return there

        return test

    def test_present(self, negated: bool) -> Test:
        present = self._present
        if present is None:
            return constant(not negated)
        return lambda start, stop: ~present[start:stop] if negated else present[start:stop].copy()

    def take(self, rows: Int64) -> pa.Array:
        types = {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64(), "timestamp": pa.timestamp("us")}
        mask = None if self._present is None else ~self._present[rows]
        values = self._values[rows]
        return pa.array(
            values.view("datetime64[us]") if self.kind == "timestamp" else values, types[self.kind], mask=mask
        )

    def groups(self) -> tuple[Int32, int]:
        if self.kind == "float64":
            raise TypeError("floats make no groups")
        found, codes = np.unique(self._values, return_inverse=True)
        groups = codes.astype(np.int32)
        if self._present is not None:
            groups[~self._present] = -1
        return groups, len(found)

    def _converted(self, operator: Operator, value: Value) -> tuple[Operator, Any] | bool:
        """Return an equivalent comparison with a value of the column's own type, or its result if it is constant.

        Integers and floats are compared as numbers, without rounding either.
        """
        if self._values.dtype == np.bool_:
            return operator, bool(value)
        if isinstance(value, str):
            raise TypeError(f"{value!r} is no number")
        if np.issubdtype(self._values.dtype, np.integer):
            return _as_integer(operator, value, np.iinfo(self._values.dtype))
        if self._values.dtype == np.float32:
            # As in SQL: a probability that is displayed as 0.8 is not greater than 0.8.
            return operator, np.float32(value)
        return _as_float(operator, value)


def _as_integer(operator: Operator, value: float, limits: np.iinfo[Any]) -> tuple[Operator, int] | bool:
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        if operator in ("=", "!="):
            return operator == "!="
        if math.isfinite(value):
            # There is no integer between a fraction and its floor.
            return _as_integer("<=" if operator in ("<", "<=") else ">", math.floor(value), limits)
        return (value > 0) == (operator in ("<", "<="))
    number = int(value)
    if limits.min <= number <= limits.max:
        return operator, number
    if operator in ("=", "!="):
        return operator == "!="
    return (number > 0) == (operator in ("<", "<="))


def _as_float(operator: Operator, value: float) -> tuple[Operator, float] | bool:
    try:
        number = float(value)
    except OverflowError:
        number = math.copysign(math.inf, value)
    if number == value:
        return operator, number
    if operator in ("=", "!="):
        return operator == "!="
    # An integer between two floats: compare with the nearer float, and adapt the operator.
    if operator in ("<", "<="):
        return ("<=" if number < value else "<"), number
    return (">=" if number > value else ">"), number


class Coded:
    """Strings as codes: `codes` (rows,) are positions among `texts`; the maximum of their type means none."""

    kind: Kind = "string"

    def __init__(self, codes: npt.NDArray[Any], texts: SortedTexts) -> None:
        self._codes, self._texts = codes, texts
        self._none = np.iinfo(codes.dtype).max

    @classmethod
    def of(cls, places: npt.NDArray[Any], texts: SortedTexts) -> Coded:
        """Create a column from positions (rows,) among some texts, -1 for none."""
        types: tuple[type[Any], ...] = (np.uint8, np.uint16, np.uint32, np.uint64)
        dtype = next(one for one in types if len(texts) < np.iinfo(one).max)
        # -1 becomes the maximum of the type.
        return cls(places.astype(dtype), texts)

    @property
    def nbytes(self) -> int:
        return int(self._codes.nbytes) + self._texts.nbytes

    def test(self, operator: Operator, value: str) -> Test:
        place, is_there = self._texts.find(value)
        codes, none = self._codes, self._none
        if operator == "=":
            return (lambda start, stop: codes[start:stop] == place) if is_there else constant(False)
        if operator == "!=":
            if not is_there:
                return self.test_present(negated=False)
            return lambda start, stop: (codes[start:stop] != place) & (codes[start:stop] != none)
        # The first string that is greater, or not less.
        border = place + (is_there and operator in ("<=", ">"))
        if operator in ("<", "<="):
            return lambda start, stop: codes[start:stop] < border
        return lambda start, stop: (codes[start:stop] >= border) & (codes[start:stop] != none)

    def test_in(self, values: Iterable[str], negated: bool) -> Test:
        places = [place for place, is_there in map(self._texts.find, values) if is_there]
        if len(places) < 2 or len(self._texts) > len(self._codes) // 2:
            return self._test_places(np.array(sorted(places), self._codes.dtype), negated)
        table = np.full(len(self._texts) + 1, negated, np.bool_)
        table[places] = not negated
        table[-1] = False
        codes = self._codes
        # Clipping maps the code for none to the last entry of the table.
        return lambda start, stop: np.take(table, codes[start:stop], mode="clip")

    def _test_places(self, places: npt.NDArray[Any], negated: bool) -> Test:
        codes, none = self._codes, self._none

        def test(start: int, stop: int) -> Bools:
            some = codes[start:stop]
            found: Bools = np.isin(some, places, invert=negated)
            return found & (some != none) if negated else found

        return test

    def test_present(self, negated: bool) -> Test:
        codes, none = self._codes, self._none
        return lambda start, stop: (codes[start:stop] == none) if negated else (codes[start:stop] != none)

    def take(self, rows: Int64) -> pa.Array:
        codes = self._codes[rows]
        return self._texts.take(codes, codes == self._none)

    def groups(self) -> tuple[Int32, int]:
        groups = self._codes.astype(np.int32)
        groups[self._codes == self._none] = -1
        return groups, len(self._texts)


class Postings:
    """Lists of strings: the elements of all rows in sequence, and for each distinct string the rows that contain it."""

    kind: Kind = "list<string>"

    def __init__(self, ends: Int64, places: Int64, texts: SortedTexts, present: Bools) -> None:
        """Create a column. The list of row i ends before element `ends[i]`; `places` (elements,) are positions in
        `texts`.
        """
        self._texts, self._present, self._ends = texts, present, ends
        self._places = places.astype(np.uint32 if len(texts) < 1 << 32 else np.int64)
        owners = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        counts = np.bincount(places, minlength=len(texts))
        # The rows of text i are self._rows[self._starts[i] : self._starts[i + 1]].
        self._starts: Int64 = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        in_order = owners[np.argsort(places, kind="stable")]
        self._rows = in_order.astype(np.uint32 if len(ends) < 1 << 32 else np.int64)

    @property
    def nbytes(self) -> int:
        arrays = (self._starts, self._rows, self._present, self._places, self._ends)
        return sum(int(one.nbytes) for one in arrays) + self._texts.nbytes

    def test_has(self, text: str, negated: bool) -> Test:
        """Return a test of whether a list contains a string; `negated` means that there is a list without it."""
        place, is_there = self._texts.find(text)
        rows = self._rows[self._starts[place] : self._starts[place + 1]] if is_there else self._rows[:0]
        present = self._present

        def test(start: int, stop: int) -> Bools:
            first, last = np.searchsorted(rows, [start, stop])
            found = present[start:stop].copy() if negated else np.zeros(stop - start, np.bool_)
            found[rows[first:last].astype(np.int64) - start] = not negated
            return found

        return test

    def test_present(self, negated: bool) -> Test:
        present = self._present
        return lambda start, stop: ~present[start:stop] if negated else present[start:stop].copy()

    def test(self, operator: Operator, value: Any) -> Test:
        raise TypeError("lists are not compared")

    def test_in(self, values: Iterable[Any], negated: bool) -> Test:
        raise TypeError("lists are not compared")

    def take(self, rows: Int64) -> pa.Array:
        ends = self._ends[rows]
        starts = np.where(rows > 0, self._ends[rows - 1], 0)
        elements = [self._places[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        places = np.concatenate(elements) if elements else self._places[:0]
        offsets = pa.array(np.concatenate([[0], np.cumsum(ends - starts)]), pa.int32())
        return pa.ListArray.from_arrays(offsets, self._texts.take(places), mask=pa.array(~self._present[rows]))

    def groups(self) -> tuple[Int32, int]:
        raise TypeError("lists make no groups")
