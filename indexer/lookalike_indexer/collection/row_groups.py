"""Row groups of a Parquet file, by row number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from lookalike_indexer.arrays import Int64


class RowGroups(NamedTuple):
    """The row groups of a file: group g holds the rows from `starts[g]` to before `starts[g + 1]`."""

    starts: Int64

    @classmethod
    def of(cls, file: pq.ParquetFile) -> RowGroups:
        metadata = file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return cls(np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]))

    @property
    def rows(self) -> int:
        """The number of rows of the file."""
        return int(self.starts[-1])

    @property
    def sizes(self) -> Int64:
        """The number of rows of each group."""
        return np.diff(self.starts)

    def find(self, rows: Int64) -> Int64:
        """Return the group of each existing row; shape (n,)."""
        return np.searchsorted(self.starts, rows, side="right") - 1
