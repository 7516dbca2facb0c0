"""Hartigan's method: images move one by one while the objective of k-means improves.

Lloyd's algorithm assigns all vectors before it moves a centroid, and therefore stops where a single move would still
help. An optimum of Hartigan's method is one of Lloyd's, but not the reverse (Telgarsky and Vattani: Hartigan's method,
2010). The difference is a few percent if a cluster has few vectors.

The moves of a round touch each cluster at most once, so that none changes the gain of another. Products are exact on
the grid (`numerics.grid`), so the result does not depend on threads, CPU or blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float64, Int64
from lookalike_indexer.numerics.grid import on_grid, squared_norms

# For points with length of at most 1, a smaller gain is rounding.
NEGLIGIBLE = 1e-9
# Elements of the largest block of products, points by centroids.
_BLOCK = 1 << 22
# Costs in multiplications of a large product: other work on a pair of a point and a group, one visit of such a pair,
# and a round.
_OVERHEAD, _LOOKED, _ROUND = 60, 6, 1_000_000


@dataclass
class Work:
    """The remaining work budget of a search, in multiplications of a large product; shared by its steps."""

    left: float


class Exchange:
    """Groups of n points (n, dim) of the grid, with length of at most 1, improved by single moves.

    The objective, which increases, is the sum over groups of |S|^2 / size, where S is the sum of the group's points;
    its maximum is the least inertia of k-means. With `spherical` it is the sum of |S|, for centroids of unit length.
    `clusters` (n,), `sums` (k, dim) and `sizes` (k,) describe the groups.
    """

    def __init__(self, points: Float64, clusters: Int64, k: int, spherical: bool, work: Work) -> None:
        from scipy.sparse import csr_array

        self.points, self.spherical, self._work = points, spherical, work
        self.clusters = clusters.astype(np.int64)
        self.sizes = np.bincount(clusters, minlength=k)
        members = csr_array((np.ones(len(points)), (clusters, np.arange(len(points)))), shape=(k, len(points)))
        # Sums of grid points are exact, in any order.
        self.sums: Float64 = np.asarray(members @ points)
        self.values = value(squared_norms(self.sums), self.sizes, spherical)
        self._lengths = squared_norms(points)
        # The gain of a group when a point joins it, and its loss when a member leaves.
        self._joining = np.empty((len(points), k))
        self._leaving = np.empty(len(points))
        self._update_gains(np.arange(k))

    @property
    def objective(self) -> float:
        """The sum of the groups' values."""
        return float(self.values.sum())

    def settle(self) -> None:
        """Make moves until none helps, or the work budget is used up."""
        while self._work.left > 0:
            self._work.left -= float(self._joining.size * _LOOKED + _ROUND)
            best = self._joining.argmax(axis=1)
            gains = np.take_along_axis(self._joining, best[:, None], axis=1)[:, 0] - self._leaving
            promising = np.flatnonzero(gains > NEGLIGIBLE)
            touched = self._moves(promising[np.argsort(-gains[promising], kind="stable")], best)
            if not touched:
                return
            self._update_gains(np.array(sorted(touched)))

    def regrouped(self, changes: dict[int, int], rows: Int64) -> Exchange:
        """Return a copy in which groups are merged and one is divided.

        `changes` maps each group that is merged to the group that takes it in. The points `rows` are then moved to the
        first merged group, which is empty.
        """
        other = object.__new__(Exchange)
        other.__dict__.update(self.__dict__)
        other.clusters = self.clusters.copy()
        other.sums, other.sizes, other.values = self.sums.copy(), self.sizes.copy(), self.values.copy()
        other._joining, other._leaving = self._joining.copy(), self._leaving.copy()
        touched: set[int] = set()
        for source, target in changes.items():
            other.clusters[self.clusters == source] = target
            touched |= {source, target}
        touched |= set(self.clusters[rows].tolist())
        other.clusters[rows] = next(iter(changes))
        for group in sorted(touched):
            own = other.points[other.clusters == group]
            other.sums[group], other.sizes[group] = own.sum(axis=0), len(own)
        other._update_gains(np.array(sorted(touched)))
        return other

    def _moves(self, order: Int64, best: Int64) -> set[int]:
        """Move points, in this order, whose groups are not touched yet; return the touched groups."""
        touched: set[int] = set()
        k = len(self.sizes)
        for row in order.tolist():
            if len(touched) + 1 >= k:
                break
            old, new = int(self.clusters[row]), int(best[row])
            if old in touched or new in touched:
                continue
            pair = np.array([old, new])
            sums = self.sums[pair] + np.array([[-1.0], [1.0]]) * self.points[row]
            sizes = self.sizes[pair] + [-1, 1]
            values = value(squared_norms(sums), sizes, self.spherical)
            # Check by the sums themselves, so that every move helps and the search terminates.
            if values.sum() - self.values[pair].sum() <= NEGLIGIBLE:
                continue
            self.sums[pair], self.sizes[pair], self.values[pair] = sums, sizes, values
            self.clusters[row] = new
            touched |= {old, new}
        return touched

    def _update_gains(self, groups: Int64) -> None:
        """Recompute the gain of joining these groups, and the loss of leaving them."""
        sizes, squares = self.sizes[groups], squared_norms(self.sums[groups])
        self.values[groups] = value(squares, sizes, self.spherical)
        centroids = on_grid(self.sums[groups] / np.maximum(sizes, 1)[:, None])
        column = np.full(len(self.sizes), -1)
        column[groups] = np.arange(len(groups))
        own = column[self.clusters]
        step = max(1, _BLOCK // len(groups))
        for start in range(0, len(self.points), step):
            some = slice(start, start + step)
            # Twice the product of a point and a sum, from which the square of the sum with or without the point
            # follows.
            twice = self.points[some] @ centroids.T
            twice *= 2 * sizes
            lengths = self._lengths[some]
            rows = np.flatnonzero(own[some] >= 0)
            columns = own[some][rows]
            left = squares[columns] - twice[rows, columns] + lengths[rows]
            left = value(left, sizes[columns] - 1, self.spherical)
            self._leaving[start + rows] = self.values[groups[columns]] - left
            twice += squares
            twice += lengths[:, None]
            joined = value(twice, sizes + 1, self.spherical)
            joined -= self.values[groups]
            joined[rows, columns] = -np.inf
            self._joining[some, groups] = joined
        self._work.left -= float(len(self.points) * len(groups) * (self.points.shape[1] + _OVERHEAD))


def value(squares: Float64, sizes: Int64, spherical: bool) -> Float64:
    """Return the contribution of groups to the objective; `squares` are the squared lengths of their sums; 0 for empty
    ones.
    """
    found: Float64 = np.sqrt(np.maximum(squares, 0)) if spherical else squares / np.maximum(sizes, 1)
    if not sizes.all():
        found *= sizes > 0
    return found
