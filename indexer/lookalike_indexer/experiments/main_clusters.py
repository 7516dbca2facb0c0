"""Distribution of labels over clusters: main clusters of a label, labels of a cluster, and a display order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.experiments.metrics import Contingency

# The main clusters of a label together hold at least this share of its images.
MAIN_SHARE = 0.5
# Any other cluster with at least this share of a label's images, and at least two of them, is a secondary cluster of
# the label.
HOME_SHARE = 0.1
_HOME_IMAGES = 2
# Ordering by similarity compares all pairs of labels; above this number they stay in the order of their names.
_ORDERED = 1000
# Optimal leaf ordering takes cubic time in the rows: 2.5 s for 1,000.
_TURNED = 300


@dataclass(frozen=True)
class Cells:
    """The cells of a table by row, the highest count first, equal ones by column.

    All of shape (cells,): `place` counts from 0 within the row, `before` is the share of the row's images in the cells
    before this one, `share` in this one.
    """

    rows: Int64
    columns: Int64
    counts: Int64
    place: Int64
    before: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]

    @property
    def is_main(self) -> Bools:
        """Cells of the smallest set of columns that holds at least half of the row, the largest first."""
        # The tolerance absorbs rounding: shares are sums of fractions, and half of the images must count as half.
        return self.before < MAIN_SHARE - 1e-9

    @property
    def is_secondary(self) -> Bools:
        """Cells that are not main and hold at least a tenth of the row, and at least two images."""
        return ~self.is_main & (self.share >= HOME_SHARE) & (self.counts >= _HOME_IMAGES)


def ranked(table: Contingency) -> Cells:
    """Return the cells of a table in this order; its rows are labels and its columns clusters, or vice versa."""
    order = np.lexsort((table.columns, -table.counts, table.rows))
    rows, columns, counts = table.rows[order], table.columns[order], table.counts[order]
    starts = np.searchsorted(rows, rows)
    ends = np.cumsum(counts)
    counted_before = ends - counts
    within = counted_before - counted_before[starts] if len(rows) else counted_before
    sums = table.row_sums[rows]
    return Cells(rows, columns, counts, np.arange(len(rows)) - starts, within / sums, counts / sums)


def turned(table: Contingency) -> Contingency:
    """Return the table with rows and columns exchanged."""
    order = np.lexsort((table.rows, table.columns))
    return Contingency(
        table.columns[order], table.rows[order], table.counts[order], (table.shape[1], table.shape[0]), table.left_out
    )


def order_rows(table: Contingency) -> Int64:
    """Return an order of the rows that places similar distributions together; empty ones last. int64 (rows,).

    It is SciPy's average linkage over the cosine distances of the rows' shares. Up to 300 rows the leaves are in the
    order in which neighbors are most similar (Bar-Joseph, Gifford, Jaakkola, 2001). Above 1,000 rows the original order
    stays.
    """
    full = np.flatnonzero(table.row_sums)
    empty = np.flatnonzero(table.row_sums == 0)
    if 3 <= len(full) <= _ORDERED:
        from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
        from scipy.spatial.distance import squareform
        from sklearn.metrics.pairwise import cosine_distances

        apart = cosine_distances(table.sparse()[full])
        condensed = squareform(apart, checks=False)
        tree = linkage(condensed, "average")
        if len(full) <= _TURNED:
            tree = optimal_leaf_ordering(tree, condensed)
        full = full[leaves_list(tree)]
    return np.concatenate([full, empty]).astype(np.int64)


def order_columns(table: Contingency, row_order: Int64) -> Int64:
    """Return an order of the columns by the row of their highest count; empty ones last. int64 (columns,)."""
    places = np.empty(table.shape[0], np.int64)
    places[row_order] = np.arange(len(row_order))
    cells = ranked(turned(table))
    first = cells.place == 0
    place = np.full(table.shape[1], table.shape[0], np.int64)
    highest = np.zeros(table.shape[1], np.int64)
    place[cells.rows[first]] = places[cells.columns[first]]
    highest[cells.rows[first]] = cells.counts[first]
    return np.lexsort((-highest, place)).astype(np.int64)
