"""Rows that a search may return, for example those that match a filter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Bools, Int64


class RowMask:
    """A boolean for each row of a space, numbered as in `Rows`. Immutable.

    `bools` (rows,) is not copied and must not be modified afterwards. Derived data for searches is
    computed once and cached with the mask.
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
        """Share of the rows that it allows; 0 if there are no rows."""
        return self.count / max(1, len(self.bools))

    @cached_property
    def digest(self) -> str:
        """Digest of the bits. Equal masks have equal digests."""
        return hashlib.blake2b(self.bits.tobytes(), digest_size=16, key=str(len(self.bools)).encode()).hexdigest()

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """Eight rows per byte, the first in the lowest bit, as in Arrow and faiss."""
        return np.packbits(self.bools, bitorder="little")

    @cached_property
    def rows(self) -> Int64:
        """The allowed rows, ascending."""
        return np.flatnonzero(self.bools)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the mask and its cached data."""
        known = [self.bools, *(self.__dict__[name] for name in ("bits", "rows") if name in self.__dict__)]
        parts = [part for part in list(self._parts.values()) if part is not self]
        # A part's booleans are a view of the mask's.
        views = sum(part.nbytes - part.bools.nbytes for part in parts)
        return views + sum(int(one.nbytes) for one in (*known, *list(self._derived.values())))

    def allows(self, rows: Int64) -> Bools:
        """Return whether a search may return each row, for an array of any shape; False for row -1."""
        # Row -1 reads the last boolean, whose value does not matter.
        allowed: Bools = self.bools[rows] & (rows >= 0) if len(self.bools) else np.zeros(rows.shape, np.bool_)
        return allowed

    def part(self, start: int, stop: int) -> RowMask:
        """Return the mask of rows `[start, stop)`, renumbered from 0."""
        if start == 0 and stop >= len(self.bools):
            return self
        if (start, stop) not in self._parts:
            self._parts[start, stop] = RowMask(self.bools[start:stop])
        return self._parts[start, stop]

    def derived(self, owner: object, make: Callable[[], Int64]) -> tuple[Int64, bool]:
        """Return an array that `owner` derives from the mask, and whether it was cached. Cached while both live."""
        known = self._derived.get(owner)
        if known is not None:
            return known, True
        made = self._derived[owner] = make()
        return made, False


class Remaining(RowMask):
    """Mask of the rows whose images are not deleted, without any filter."""
