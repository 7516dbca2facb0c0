"""Base class of results that consist of columns."""

from __future__ import annotations

import dataclasses
import operator
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Self, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from lookalike._notebook.frames import Tabular
from lookalike._notebook.thumbnails import Illustrated

Row = TypeVar("Row", covariant=True)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


class Columns(Tabular, Illustrated, Generic[Row]):
    """Columns of equal length. An index and iteration return rows; a slice returns columns.

    `to_pandas` and `to_arrow` convert to a table of that library. A notebook shows
    thumbnails while the client can still fetch them.
    """

    # The fields that have one value for each row.
    _sliced: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def _row(self, index: int) -> Row:
        """Return the row at `index`, 0 <= index < len(self)."""

    def _slice(self, rows: slice) -> Self:
        """Return the rows of a slice, with the same columns."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self._sliced}
        cut = {name: column[rows] for name, column in fields.items() if column is not None}
        this: Any = self
        part: Self = dataclasses.replace(this, **cut)
        return part

    @abstractmethod
    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""

    def _illustrated(self, part: Any) -> Any:
        """Let a row or a slice fetch thumbnails from the same source."""
        if isinstance(part, Illustrated):
            part._illustrate(self._source)
        return part

    @overload
    def __getitem__(self, index: SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Row | Self:
        """Return the row at `index`, from the end if negative, or the rows of a slice; IndexError out of range."""
        if isinstance(index, slice):
            cut: Self = self._illustrated(self._slice(index))
            return cut
        length = len(self)
        position = operator.index(index)
        if not -length <= position < length:
            raise IndexError(f"row {position} of {length}")
        row: Row = self._illustrated(self._row(position % length))
        return row

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows in order."""
        return (self._illustrated(self._row(index)) for index in range(len(self)))


def preview(keys: tuple[str, ...], distances: Float32, shown: int = 3) -> str:
    """Format the first keys with their distances, for a repr."""
    pairs = [f"{key!r} {distance:.4g}" for key, distance in zip(keys[:shown], distances[:shown], strict=True)]
    return ", ".join([*pairs, "..."] if len(keys) > shown else pairs)
