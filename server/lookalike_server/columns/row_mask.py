"""The rows that a search may return: what a filter comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Bools, Int64


class RowMask:
    """A boolean for each row of a space, as `Rows` counts them. It never changes.

    `bools` (rows,) is not copied, and must not be written to any more. What
    searches need besides is derived from it once, and kept with it.
    """

    def __init__(self, bools: Bools) -> None:
        self.bools = np.ascontiguousarray(bools, np.bool_)
        self.count = int(np.count_nonzero(self.bools))
        self._parts: dict[tuple[int, int], RowMask] = {}
        self._derived: WeakKeyDictionary[object, Int64] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self.bools)

    @property
    def share(self) -> float:
        """The share of the rows that it allows; 0 without any rows."""
        return self.count / max(1, len(self.bools))

    @cached_property
    def digest(self) -> str:
        """Equal masks have equal digests, whatever they were made from."""
        return hashlib.blake2b(self.bits.tobytes(), digest_size=16, key=str(len(self.bools)).encode()).hexdigest()

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """Eight rows in a byte, the first in its lowest bit, as Arrow and faiss have them."""
        return np.packbits(self.bools, bitorder="little")

    @cached_property
    def rows(self) -> Int64:
        """The rows that it allows, ascending."""
        return np.flatnonzero(self.bools)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the mask holds now, with what was derived from it."""
        known = [self.bools, *(self.__dict__[name] for name in ("bits", "rows") if name in self.__dict__)]
        parts = [part for part in list(self._parts.values()) if part is not self]
        # A part's booleans are a view of the mask's own.
        views = sum(part.nbytes - part.bools.nbytes for part in parts)
        return views + sum(int(one.nbytes) for one in (*known, *list(self._derived.values())))

    def allows(self, rows: Int64) -> Bools:
        """Whether a search may return each of some rows, of any shape; False for row -1."""
        # Row -1 reads the last boolean, which means nothing.
        allowed: Bools = self.bools[rows] & (rows >= 0) if len(self.bools) else np.zeros(rows.shape, np.bool_)
        return allowed

    def part(self, start: int, stop: int) -> RowMask:
        """The mask of rows `start` to before `stop`, counted from 0."""
        if start == 0 and stop >= len(self.bools):
            return self
        if (start, stop) not in self._parts:
            self._parts[start, stop] = RowMask(self.bools[start:stop])
        return self._parts[start, stop]

    def derived(self, owner: object, make: Callable[[], Int64]) -> tuple[Int64, bool]:
        """An array that `owner` derives from the mask, and whether it was there already. Kept as long as both live."""
        known = self._derived.get(owner)
        if known is not None:
            return known, True
        made = self._derived[owner] = make()
        return made, False


class Remaining(RowMask):
    """The rows whose images were not deleted, where no filter leaves out any other."""
