"""What all results that consist of columns have in common."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

Row = TypeVar("Row", covariant=True)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


class Columns(ABC, Generic[Row]):
    """Columns of equal length; `len`, an index and iteration give rows."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def _row(self, index: int) -> Row:
        """The row at `index`, 0 <= index < len(self)."""

    def __getitem__(self, index: SupportsIndex) -> Row:
        """The row at `index`, from the end when negative; IndexError beyond either end."""
        length = len(self)
        position = operator.index(index)
        if not -length <= position < length:
            raise IndexError(f"row {position} of {length}")
        return self._row(position % length)

    def __iter__(self) -> Iterator[Row]:
        """The rows in order."""
        return (self._row(index) for index in range(len(self)))


def preview(keys: tuple[str, ...], distances: Float32, shown: int = 3) -> str:
    """The first keys with their distances, for a repr."""
    pairs = [f"{key!r} {distance:.4g}" for key, distance in zip(keys[:shown], distances[:shown], strict=True)]
    return ", ".join([*pairs, "..."] if len(keys) > shown else pairs)
