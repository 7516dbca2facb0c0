"""Local search after Lloyd's algorithm: single moves from every start, then swaps from the best results.

The work is counted in multiplications, not in seconds, so that the same task gives the same clusters on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from lookalike_indexer.arrays import Float64, Int64
from lookalike_indexer.clustering.exchange import Exchange, Work
from lookalike_indexer.clustering.swaps import swapped

# The work budgets of the moves from all starts, and of the swaps: a second or two each.
_MOVES: Final = 5e9
_SWAPS: Final = 5e9
# The number of best starts from which swaps begin.
_SWAPPED: Final = 3
# Elements of the points, and of the table of points by centroids, held in float64: 256 MiB each.
_MOST_ELEMENTS: Final = 1 << 25
# If one visit of all points and centroids takes more multiplications, the budget allows little search.
_MOST_PRODUCTS: Final = 1 << 32


def searchable(rows: int, k: int, dim: int) -> bool:
    """Return whether a task is small enough for a local search."""
    return k > 1 and rows * max(k, dim) <= _MOST_ELEMENTS and rows * k * dim <= _MOST_PRODUCTS


def searched(points: Float64, starts: Sequence[Int64], k: int, *, spherical: bool = False) -> Exchange:
    """Return the best groups that moves and swaps reach from the clusters (n,) of several starts, best start first.

    `points` (n, dim) are on the grid with length of at most 1; `searchable` limits their number. If the work budget
    runs out, the later starts are skipped.
    """
    work = Work(_MOVES)
    settled: list[Exchange] = []
    for clusters in _different(starts):
        if settled and work.left <= 0:
            break
        groups = Exchange(points, clusters, k, spherical, work)
        groups.settle()
        # Only three are kept, because each holds a table of points by centroids.
        settled = sorted([*settled, groups], key=lambda each: -each.objective)[:_SWAPPED]
    work.left = _SWAPS
    best = [swapped(groups, work) for groups in settled if work.left > 0]
    return max(best, key=lambda each: each.objective)


def _different(starts: Sequence[Int64]) -> list[Int64]:
    kept: dict[bytes, Int64] = {}
    for clusters in starts:
        kept.setdefault(np.ascontiguousarray(clusters).tobytes(), clusters)
    return list(kept.values())
