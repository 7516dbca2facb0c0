"""What all results that consist of columns have in common."""

from __future__ import annotations

import dataclasses
import operator
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Self, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from lookalike._notebook.frames import Tabular
from lookalike._notebook.pictures import Illustrated

Row = TypeVar("Row", covariant=True)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


class Columns(Tabular, Illustrated, Generic[Row]):
    """Columns of equal length; `len`, an index and iteration give rows, and a slice gives columns.

    `to_pandas` and `to_arrow` give a table of another library. A notebook shows
    thumbnails where the client can still fetch them.
    """

    # The fields that have one value for each row.
    _sliced: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def _row(self, index: int) -> Row:
        """The row at `index`, 0 <= index < len(self)."""

    def _slice(self, rows: slice) -> Self:
        """The rows of a slice, with the same columns."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self._sliced}
        cut = {name: column[rows] for name, column in fields.items() if column is not None}
        this: Any = self
        part: Self = dataclasses.replace(this, **cut)
        return part

    @abstractmethod
    def _repr_html_(self) -> str:
        """What a notebook shows."""

    def _illustrated(self, part: Any) -> Any:
        """A row or a slice, with thumbnails from where this has them."""
        if isinstance(part, Illustrated):
            part._illustrate(self._source)
        return part

    @overload
    def __getitem__(self, index: SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Row | Self:
        """The row at `index`, from the end when negative, or the rows of a slice; IndexError beyond either end."""
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
        """The rows in order."""
        return (self._illustrated(self._row(index)) for index in range(len(self)))


def preview(keys: tuple[str, ...], distances: Float32, shown: int = 3) -> str:
    """The first keys with their distances, for a repr."""
    pairs = [f"{key!r} {distance:.4g}" for key, distance in zip(keys[:shown], distances[:shown], strict=True)]
    return ", ".join([*pairs, "..."] if len(keys) > shown else pairs)
