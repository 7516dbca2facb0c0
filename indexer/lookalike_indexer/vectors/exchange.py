"""Exact nearest neighbors with one product for each pair of vectors: each result serves both vectors.

The results equal those of `exact_search`: a float32 product only proposes pairs, which are compared in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import pairs, rowwise
from lookalike_indexer.vectors.exact import MANY, TERMS, BestResults, scores_of, slices
from lookalike_indexer.vectors.rounding import largest_cost, worst_error

# Vectors of a block that is compared with the others at a time.
_BLOCK = 1024
# If more pairs than this multiple of all neighbors wait, those that are too far by now are dropped.
_WAITING = 4
_MOST = 1 << 23


@dataclass(frozen=True)
class Side:
    """Vectors (n, dim), prepared for the metric, their numbers (n,), and their nearest vectors so far."""

    numbers: Int64
    vectors: Float32
    best: BestResults

    def rows(self, some: slice) -> Side:
        """Return a view of some rows; results for it are results for these rows."""
        return Side(
            self.numbers[some], self.vectors[some], BestResults(self.best.rows[some], self.best.distances[some])
        )


def exchange(left: Side, right: Side, metric: Metric, both: bool = True) -> None:
    """Compare each vector of one side with each of the other, once, and merge near ones into the best of both.

    Without `both`, only `left` gets results, for example if the sides are the same vectors. After a side is compared
    with all others, its results equal those of `exact_search`: the product only proposes pairs, which are compared in
    float64.
    """
    norms = [np.sqrt(rowwise.squared_norms(side.vectors)) for side in (left, right)]
    for some in slices(len(left.vectors), len(right.vectors)):
        part = left.rows(some)
        scores, error = _scored(part.vectors, norms[0][some], right.vectors, norms[1], metric)
        rows, columns = np.nonzero(_near(scores, part.best, error, metric))
        distances = pairs.distances(part.vectors, rows, right.vectors, columns, metric)
        part.best.add(rows, right.numbers[columns], distances)
        if not both:
            continue
        columns, rows = np.nonzero(_near(scores.T, right.best, error, metric))
        distances = pairs.distances(part.vectors, rows, right.vectors, columns, metric)
        right.best.add(columns, part.numbers[rows], distances)


def compare_all(side: Side, metric: Metric, advance: Callable[[int], None]) -> None:
    """Compare each vector of a side with each other one and itself, and merge near ones into the best of the side.

    Pairs wait with their float32 scores until all are known. Only those that may then still be among the nearest are
    compared in float64, once for both vectors. `advance` is called with the number of vectors of each finished block.
    """
    waiting = _Waiting(side, metric)
    for start in range(0, len(side.numbers), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(side.numbers)))
        waiting.add(block, block)
        for some in slices(len(side.numbers) - block.stop, block.stop - start):
            waiting.add(slice(block.stop + some.start, block.stop + some.stop), block)
        advance(block.stop - start)
    waiting.compare()


class _Waiting:
    """Pairs of vectors of a side that may be near: (one, other, least cost), `one` at or after `other`.

    `_nearest` has for each vector the k smallest upper bounds of its costs so far.
    """

    def __init__(self, side: Side, metric: Metric) -> None:
        self._side, self._metric = side, metric
        self._norms = np.sqrt(rowwise.squared_norms(side.vectors))
        self._nearest = BestResults.none(*side.best.rows.shape)
        self._room = min(_WAITING * self._nearest.rows.size, _MOST)
        self._pairs = [_no_pairs()]
        self._count = 0

    def add(self, left: slice, right: slice) -> None:
        """Add near pairs of two blocks. The left one is after the right one, or the same."""
        vectors = self._side.vectors
        scores, error = _scored(vectors[left], self._norms[left], vectors[right], self._norms[right], self._metric)
        one, other = self._near(scores, left, right, error)
        if left != right:
            also, and_one = self._near(scores.T, right, left, error)
            one, other = np.concatenate([one, and_one]), np.concatenate([other, also])
        else:
            one, other = np.maximum(one, other), np.minimum(one, other)
        # Each pair once, although it may be near for both vectors.
        one, other = np.divmod(np.unique(one * scores.shape[1] + other), scores.shape[1])
        least = scores[one, other].astype(np.float64) - error
        self._pairs.append((one + left.start, other + right.start, -_above(-least)))
        self._count += len(one)
        if self._count > self._room:
            self._drop_far()
            if 2 * self._count > self._room:
                # Copies are equally near: there are too many to wait.
                self.compare()

    def _near(self, scores: Float32, left: slice, right: slice, error: float) -> tuple[Int64, Int64]:
        """Return the rows and columns of near pairs, after their upper bounds are merged."""
        limits = self._limits(left) + error
        rows, columns = np.nonzero(_within(scores, limits, self._nearest.rows.shape[1], error))
        bounds = _above(scores[rows, columns].astype(np.float64) + error)
        self._nearest.add(rows + left.start, columns + right.start, bounds)
        return rows, columns

    def compare(self) -> None:
        """Compare the waiting pairs in float64, and merge them into the best of the side."""
        self._drop_far()
        one, other, _ = self._pairs[0]
        side = self._side
        distances = pairs.distances(side.vectors, one, side.vectors, other, self._metric)
        apart = one != other
        side.best.add(one, side.numbers[other], distances)
        side.best.add(other[apart], side.numbers[one[apart]], distances[apart])
        self._pairs, self._count = [_no_pairs()], 0

    def _drop_far(self) -> None:
        one, other, least = (np.concatenate(each) for each in zip(*self._pairs, strict=True))
        limits = _above(self._limits(slice(None)))
        near = least <= np.maximum(limits[one], limits[other])
        self._pairs, self._count = [(one[near], other[near], least[near])], int(np.count_nonzero(near))

    def _limits(self, some: slice) -> Float64:
        """Return the largest cost of a vector among the k nearest of those in `some`."""
        known = largest_cost(self._side.best.distances[some, -1], self._metric)
        return np.minimum(known, self._nearest.distances[some, -1])


def _no_pairs() -> tuple[Int64, Int64, Float32]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)


def _scored(
    left: Float32, left_norms: Float64, right: Float32, right_norms: Float64, metric: Metric
) -> tuple[Float32, float]:
    """Return the costs of two sides' vectors in float32, (n, m), and the bound of their errors."""
    scores = scores_of(left, right, metric)
    longest = np.full(1, left_norms.max(initial=0) + right_norms.max(initial=0))
    if metric == "l2":
        # Complete squared distances, so that they mean the same for both sides.
        scores += np.square(left_norms)[:, None].astype(np.float32)
    return scores, float(worst_error(left.shape[1] + TERMS, longest)[0])


def _near(scores: Float32, best: BestResults, error: float, metric: Metric) -> Bools:
    """Return whether a score (n, m) may belong to one of the k nearest of its row."""
    return _within(scores, largest_cost(best.distances[:, -1], metric) + error, best.rows.shape[1], error)


def _within(scores: Float32, limits: Float64, k: int, error: float) -> Bools:
    """Return whether a score (n, m) is within the limits (n,) and may belong to one of the k nearest of its row."""
    near = scores <= _above(limits)[:, None]
    if scores.shape[1] > k and np.count_nonzero(near) > MANY * k * len(scores):
        # Contiguous, because partitioning columns that are far apart in memory is slow.
        nearest = np.partition(np.ascontiguousarray(scores), k - 1, axis=1)[:, k - 1]
        near = scores <= _above(np.minimum(limits, nearest + 2 * error))[:, None]
    return near


def _above(limits: Float64) -> Float32:
    """Return limits as float32, rounded up, so that the comparison needs no copy of the scores."""
    with np.errstate(over="ignore"):
        return np.nextafter(limits.astype(np.float32), np.float32(np.inf))
