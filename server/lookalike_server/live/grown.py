"""Arrays that grow at their end while readers hold what was there before."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)

_LEAST = 256


class Grown(Generic[T]):
    """An array, (n, ...), whose `values` never change for those who hold them.

    Rows are appended behind what others hold, in the same memory. One thread may change it.
    """

    def __init__(self, values: npt.NDArray[T]) -> None:
        self._memory = values
        self._count = len(values)

    @classmethod
    def empty(cls, dtype: Any, *shape: int) -> Grown[Any]:
        """One without rows, each of which has a shape."""
        return Grown(np.empty((0, *shape), dtype))

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> npt.NDArray[T]:
        """The rows that are there now."""
        return self._memory[: self._count]

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows (m, ...)."""
        count = self._count + len(rows)
        if count > len(self._memory):
            memory = np.empty((max(_LEAST, count + count // 2), *self._memory.shape[1:]), self._memory.dtype)
            memory[: self._count] = self.values
            self._memory = memory
        self._memory[self._count : count] = rows
        self._count = count

    def put(self, rows: npt.NDArray[np.int64], value: Any) -> None:
        """Change some rows, in a copy: those who hold `values` keep what they have."""
        self._memory = self._memory.copy()
        self._memory[rows] = value
