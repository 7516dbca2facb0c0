"""The rows that a search may return: what a filter comes to."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


class RowMask:
    """A boolean for each row of a space, as `Rows` counts them. It never changes.

    `bools` (rows,) is not copied, and must not be written to any more.
    """

    def __init__(self, bools: Bools) -> None:
        self.bools = np.ascontiguousarray(bools, np.bool_)
        self.count = int(np.count_nonzero(self.bools))

    def __len__(self) -> int:
        return len(self.bools)

    @cached_property
    def digest(self) -> str:
        """Equal masks have equal digests, whatever they were made from."""
        packed = np.packbits(self.bools, bitorder="little")
        return hashlib.blake2b(packed.tobytes(), digest_size=16, key=str(len(self.bools)).encode()).hexdigest()

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the mask holds."""
        return self.bools.nbytes

    def allows(self, rows: Int64) -> Bools:
        """Whether a search may return each of some rows, of any shape; False for row -1."""
        # Row -1 reads the last boolean, which means nothing.
        allowed: Bools = self.bools[rows] & (rows >= 0) if len(self.bools) else np.zeros(rows.shape, np.bool_)
        return allowed
