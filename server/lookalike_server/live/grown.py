"""Arrays that grow at their end while readers hold earlier contents."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)

_LEAST = 256


class Grown(Generic[T]):
    """An array (n, ...) whose `values` stay unchanged for readers that hold them.

    Rows are appended in the same memory, after those that readers hold. Only one thread may change
    it.
    """

    def __init__(self, values: npt.NDArray[T]) -> None:
        self._memory = values
        self._count = len(values)

    @classmethod
    def empty(cls, dtype: Any, *shape: int) -> Grown[Any]:
        """Return an array without rows; each row has the given shape."""
        return Grown(np.empty((0, *shape), dtype))

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> npt.NDArray[T]:
        """The current rows."""
        return self._memory[: self._count]

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Append rows (m, ...)."""
        count = self._count + len(rows)
        if count > len(self._memory):
            memory = np.empty((max(_LEAST, count + count // 2), *self._memory.shape[1:]), self._memory.dtype)
            memory[: self._count] = self.values
            self._memory = memory
        self._memory[self._count : count] = rows
        self._count = count

    def put(self, rows: npt.NDArray[np.int64], value: Any) -> None:
        """Change some rows in a copy, so that readers of `values` keep theirs."""
        self._memory = self._memory.copy()
        self._memory[rows] = value
