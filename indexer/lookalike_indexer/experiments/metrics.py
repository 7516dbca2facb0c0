"""Agreement of two partitions of the same images: labels and clusters, or two clusterings.

All figures are computed from the contingency table, so that a million images cost one pass:

- purity: the share of images whose label is the most frequent one of their cluster (Manning, Raghavan, Schuetze:
  Introduction to Information Retrieval, 2008, 16.3). It grows with the number of clusters.
- NMI: mutual information over the arithmetic mean of both entropies (Strehl, Ghosh, 2002; Vinh, Epps, Bailey, 2010);
  with that mean it equals V-measure.
- homogeneity, completeness, V-measure: Rosenberg, Hirschberg, 2007.
- ARI: the Rand index adjusted for chance (Hubert, Arabie, 1985); 0 on average for random partitions, 1 for equal ones.

Tests compare them with scikit-learn's functions for label arrays.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int32]
# The largest number of cells of a dense table; 8 bytes each.
_DENSE = 1 << 24


@dataclass(frozen=True)
class Contingency:
    """The nonempty cells of a table, by row and then column; `shape` is (rows, columns).

    `rows`, `columns` and `counts` are int64 of shape (cells,). `left_out` counts the images without a code in either
    partition.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    shape: tuple[int, int]
    left_out: int

    @property
    def total(self) -> int:
        """The number of images that were counted."""
        return int(self.counts.sum())

    @property
    def row_sums(self) -> npt.NDArray[np.int64]:
        """The sum of each row, int64 (rows,)."""
        return _summed(self.rows, self.counts, self.shape[0])

    @property
    def column_sums(self) -> npt.NDArray[np.int64]:
        """The sum of each column, int64 (columns,)."""
        return _summed(self.columns, self.counts, self.shape[1])

    def sparse(self) -> Any:
        """Return the table as scipy.sparse.csr_array."""
        from scipy.sparse import csr_array

        return csr_array((self.counts, (self.rows, self.columns)), shape=self.shape)


@dataclass(frozen=True)
class Agreement:
    """The measures of the module, each in [0, 1] except ARI, which can be negative; all NaN if no image is in both."""

    purity: float
    nmi: float
    ari: float
    v_measure: float
    homogeneity: float
    completeness: float

    def figures(self) -> dict[str, float]:
        """Return the measures by name."""
        return dataclasses.asdict(self)


def contingency(first: Codes, second: Codes, rows: int = 0, columns: int = 0) -> Contingency:
    """Count pairs of codes, both of shape (images,); images with a negative code are left out.

    `rows` and `columns` are the numbers of codes; 0 means one more than the highest code.
    """
    known = (first >= 0) & (second >= 0)
    left_out = len(first) - int(np.count_nonzero(known))
    if left_out:
        first, second = first[known], second[known]
    rows = rows or int(first.max(initial=-1)) + 1
    columns = columns or int(second.max(initial=-1)) + 1
    cells = first.astype(np.int64) * columns + second
    if rows * columns <= _DENSE:
        table = np.bincount(cells, minlength=rows * columns)
        found = np.flatnonzero(table)
        counts = table[found]
    else:
        found, counts = np.unique(cells, return_counts=True)
    return Contingency(found // max(columns, 1), found % max(columns, 1), counts, (rows, columns), left_out)


def agreement(table: Contingency) -> Agreement:
    """Return the measures of a table whose rows are labels and whose columns are clusters."""
    if not table.total:
        return Agreement(*[float("nan")] * 6)
    row_entropy, column_entropy = _entropy(table.row_sums), _entropy(table.column_sums)
    mutual = _mutual_information(table)
    homogeneity = mutual / row_entropy if row_entropy else 1.0
    completeness = mutual / column_entropy if column_entropy else 1.0
    both = homogeneity + completeness
    v_measure = 2 * homogeneity * completeness / both if both else 0.0
    mean = (row_entropy + column_entropy) / 2
    return Agreement(
        purity=purity(table),
        nmi=mutual / mean if mean else 1.0,
        ari=_adjusted_rand(table),
        v_measure=v_measure,
        homogeneity=homogeneity,
        completeness=completeness,
    )


def purity(table: Contingency) -> float:
    """Return the share of images whose row is the most frequent one of their column; NaN without images."""
    return float(most_of(table.columns, table.counts, table.shape[1]).sum() / table.total) if table.total else np.nan


def most_of(groups: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return the highest count of each group, 0 for an empty group: int64 (size,)."""
    highest = np.zeros(size, np.int64)
    np.maximum.at(highest, groups, counts)
    return highest


def _summed(codes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, codes, counts)
    return sums


def _entropy(sums: npt.NDArray[np.int64]) -> float:
    from scipy.stats import entropy

    return float(entropy(sums[sums > 0]))


def _mutual_information(table: Contingency) -> float:
    from sklearn.metrics import mutual_info_score

    return float(np.clip(mutual_info_score(None, None, contingency=table.sparse()), 0, None))


def _adjusted_rand(table: Contingency) -> float:
    """Return the ARI: pairs of images that are together in both partitions, or in either, adjusted for chance."""
    together = _pairs(table.counts)
    in_rows, in_columns, all_pairs = _pairs(table.row_sums), _pairs(table.column_sums), _pairs(np.array([table.total]))
    expected = in_rows * in_columns / all_pairs if all_pairs else 0.0
    highest = (in_rows + in_columns) / 2
    # Equal, trivial partitions: all images in one group, or each in its own.
    return 1.0 if highest == expected else float((together - expected) / (highest - expected))


def _pairs(counts: npt.NDArray[np.int64]) -> float:
    sizes = counts.astype(np.float64)
    return float((sizes * (sizes - 1) / 2).sum())
