"""The ascending ids of some images, and the rows at which they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Int64


class Ids:
    """Ids, shape (rows,), each greater than the one before."""

    def __init__(self, values: Int64) -> None:
        self.values = values
        # As long as no image between the others is missing, an id tells its row by itself: nothing has to be read.
        self._gapless = len(values) > 0 and int(values[-1]) - int(values[0]) == len(values) - 1

    def rows(self, ids: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """The row of each of some ids, in any order, and whether it is there; a row means nothing where it is not."""
        ids = np.asarray(ids, np.int64)
        if self._gapless:
            return ids - self.values[0], (ids >= self.values[0]) & (ids <= self.values[-1])
        rows = np.searchsorted(self.values, ids).astype(np.int64, copy=False)
        found = rows < len(self.values)
        found[found] = self.values[rows[found]] == ids[found]
        return rows, found
