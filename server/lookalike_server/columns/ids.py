"""Ascending ids of some images, and their rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Int64


class Ids:
    """Ids (rows,), strictly ascending."""

    def __init__(self, values: Int64) -> None:
        self.values = values
        # If no id between the first and the last is missing, a row follows from its id without a lookup.
        self._gapless = len(values) > 0 and int(values[-1]) - int(values[0]) == len(values) - 1

    def rows(self, ids: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """Return the row of each id, in any order, and whether it exists. Rows of missing ids are undefined."""
        ids = np.asarray(ids, np.int64)
        if self._gapless:
            return ids - self.values[0], (ids >= self.values[0]) & (ids <= self.values[-1])
        rows = np.searchsorted(self.values, ids).astype(np.int64, copy=False)
        found = rows < len(self.values)
        found[found] = self.values[rows[found]] == ids[found]
        return rows, found
