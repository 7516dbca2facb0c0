"""Nearest neighbors among a set of vectors of few dimensions, nearly all of them.

Inverted lists give the first candidates of each vector. Then the neighbors of its neighbors are compared, until that
changes little (Dong, Moses, Li: Efficient k-nearest neighbor graph construction for generic similarity measures, 2011).
Coordinates are multiples of 2^-11 of the longest vector, so that float32 represents every sum exactly. The result does
not depend on blocks or threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import faiss
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.progress import Bar
from lookalike_indexer.threads import processors
from lookalike_indexer.vectors.sample import choose_rows

Rows = npt.NDArray[np.int32]

# A larger row number does not fit beside a distance into 64 bits.
MOST = 1 << 19
_BITS = 11
_DISTANCE_BITS = 25
_ROW_BITS = (MOST - 1).bit_length()
_BELOW_ROW = _DISTANCE_BITS + _ROW_BITS
_NONE = (1 << _BELOW_ROW) - 1
# There are about three times the square root of n lists. Each vector visits its nearest list, then 3 and then 12 more:
# the first ones give a limit that excludes most vectors of the others.
_VISITS = (1, 4, 16)
_POINTS_PER_LIST, _ITERATIONS, _SEED = 40, 4, 4321
# This many neighbors of this many neighbors are compared, until a round changes less than this share of all neighbors.
_FRIENDS, _SETTLED, _ROUNDS = 12, 0.05, 4
# Vectors that are compared at a time: their scores fit into a CPU cache.
_LEFT, _RIGHT = 512, 2048
_ASKED = 8192
# Pairs whose difference is held at a time: 4 MiB for 256 components.
_PAIRS = 4096
# Pending pairs, beyond the nearest, before the farther ones are dropped.
_WAITING = 1 << 23
# Vectors longer than twice this quantile of the lengths are shortened to that, because they determine the grid of all.
_USUAL = 0.999


def rounded(vectors: Float32) -> Float32:
    """Return vectors (n, c), divided by a power of two above the longest length and rounded as this module requires.

    The few that are far longer than the others are shortened: a grid for their length would collapse the others into
    one point.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    most = 2 * float(np.quantile(lengths, _USUAL, method="lower")) if len(lengths) else 0.0
    longest = float(lengths.max(initial=0))
    longest = min(longest, most) if most else longest
    exponent = int(np.frexp(longest)[1])
    out = np.empty(vectors.shape, np.float32)
    for some in _slices(0, len(vectors), _ASKED):
        shorter = np.minimum(1, longest / np.maximum(lengths[some], np.finfo(np.float32).tiny))
        steps = np.rint(np.ldexp(vectors[some] * shorter[:, None].astype(np.float32), _BITS - exponent))
        out[some] = np.ldexp(steps, -_BITS)
    return out


def nearest_pairs(vectors: Float32, depth: int, bar: Bar) -> Rows:
    """Return the `depth` nearest neighbors of each vector (n, c), n <= MOST, by Euclidean distance: rows (n, depth),
    int32.

    Vectors come from `rounded`. Nearest first, equal distances by ascending row; -1 ends a shorter row. Some neighbors
    are missed, unless there are so few vectors that each visits all lists. The bar is advanced by n in total. Memory
    for each vector: 9 bytes for each dimension in addition to `vectors`, and about 90 for each of `depth`, even if many
    vectors are equal; in addition, some hundred MB.
    """
    n = len(vectors)
    if n > MOST:
        raise ValueError(f"{n} vectors, more than {MOST}")
    out = np.full((n, depth), -1, np.int32)
    wanted = min(depth, n - 1)
    if wanted < 1:
        bar.advance(n)
        return out
    lists = _Lists.of(vectors)
    best = _Best(n, wanted)
    # Each thread computes its own product.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(processors()) as pool:
        for first, last in pairwise((0, *_VISITS)):
            visits = lists.visits(first, last)
            best.collect(pool.map(lambda visit: _visit(vectors, lists, best, *visit), visits))
            bar.advance(n // (len(_VISITS) + 1))
        _compare_with_all(vectors, best)
        for _ in range(_ROUNDS):
            compare = partial(_of_friends, vectors, best, best.rows())
            found = best.collect(pool.map(compare, (lists.order[some] for some in _slices(0, n, _LEFT))))
            if found < _SETTLED * n * wanted:
                break
    bar.advance(n - len(_VISITS) * (n // (len(_VISITS) + 1)))
    out[:, :wanted] = best.rows()
    return out


@dataclass(frozen=True)
class _Lists:
    """Inverted lists. `order` (n,) are the rows, list by list and ascending; `starts` is where each list begins.

    `nearest` (n, visits) are the lists that each vector visits, nearest first. `right` (n, c + 2) are the vectors in
    this order, as the right side of a product.
    """

    order: Int64
    starts: Int64
    nearest: Int64
    right: Float32

    @classmethod
    def of(cls, vectors: Float32) -> _Lists:
        n = len(vectors)
        count = max(1, min(2 ** round(np.log2(3 * n**0.5)), n // _POINTS_PER_LIST))
        centers = _centers(vectors[choose_rows(n, _POINTS_PER_LIST * count, _SEED)], count)
        nearest = faiss.knn(vectors, centers, min(count, _VISITS[-1]))[1]
        order = np.argsort(nearest[:, 0], kind="stable")
        starts = np.searchsorted(nearest[order, 0], np.arange(count + 1))
        return cls(order, starts, nearest, _right(vectors[order]))

    def visits(self, first: int, last: int) -> Iterator[tuple[int, Int64]]:
        """Yield each list and the rows, ascending, that visit it as number `first` to `last` of their lists."""
        chosen = self.nearest[:, first:last]
        if not chosen.shape[1]:
            return
        order = np.argsort(chosen.ravel(), kind="stable")
        bounds = np.searchsorted(chosen.ravel()[order], np.arange(len(self.starts)))
        for place, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop and self.starts[place] < self.starts[place + 1]:
                yield place, order[start:stop] // chosen.shape[1]


def _centers(sample: Float32, count: int) -> Float32:
    """Return centers (count, c) of a sample by k-means, on the same grid, so that distances to them are exact."""
    centers = sample[:count].copy()
    for _ in range(_ITERATIONS):
        own = faiss.knn(sample, centers, 1)[1][:, 0]
        order = np.argsort(own, kind="stable")
        held, starts, sizes = np.unique(own[order], return_index=True, return_counts=True)
        sums = np.add.reduceat(sample[order].astype(np.float64), starts, axis=0)
        centers[held] = np.ldexp(np.rint(np.ldexp(sums / sizes[:, None], _BITS)), -_BITS)
    return centers


class _Best:
    """The known nearest neighbors of all vectors: pairs from `_packed`, sorted."""

    def __init__(self, n: int, depth: int) -> None:
        self.depth = depth
        # The distance and the row of each vector's last neighbor.
        self.farthest = np.full(n, _NONE, np.int64)
        self._pairs = np.empty(0, np.int64)

    def collect(self, found: Iterable[Int64]) -> int:
        """Add pairs from pieces, each pair once; return the number of added pairs."""
        waiting: list[Int64] = []
        held = total = 0
        for piece in found:
            waiting.append(piece)
            held += len(piece)
            total += len(piece)
            if held > max(_WAITING, len(self._pairs)):
                self._take(waiting)
                waiting, held = [], 0
        self._take(waiting)
        return total

    def rows(self) -> Rows:
        """Return the rows of the neighbors, (n, depth), nearest first; -1 ends a shorter row."""
        out = np.full((len(self.farthest), self.depth), -1, np.int32)
        rows = self._pairs >> _BELOW_ROW
        out[rows, _places(rows)] = self._pairs & (MOST - 1)
        return out

    def forget(self, rows: Int64) -> None:
        """Remove the neighbors of some rows."""
        self._pairs = self._pairs[~np.isin(self._pairs >> _BELOW_ROW, rows)]

    def _take(self, found: list[Int64]) -> None:
        self._pairs = _cut(np.concatenate([self._pairs, *found]), self.depth)
        rows = self._pairs >> _BELOW_ROW
        full = _places(rows) == self.depth - 1
        self.farthest[rows[full]] = self._pairs[full] & _NONE


def _cut(pairs: Int64, depth: int) -> Int64:
    """Return the `depth` nearest pairs of each row, sorted."""
    pairs.sort()
    kept: Int64 = pairs[_places(pairs >> _BELOW_ROW) < depth]
    return kept


def _places(rows: Int64) -> Int64:
    """Return the rank of each entry among those of the same row; `rows` are sorted."""
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(rows)), np.bool_), rows[1:] != rows[:-1]]))
    return np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))


def _visit(vectors: Float32, lists: _Lists, best: _Best, place: int, visitors: Int64) -> Int64:
    """Return the pairs of a list's visitors and its vectors that are within the limits."""
    kept = [np.empty(0, np.int64)]
    for some in _slices(0, len(visitors), _LEFT):
        rows = visitors[some]
        left = _left(vectors[rows])
        # These limits shrink here as well, so that many equal vectors in a list take no more memory.
        farthest = best.farthest[rows]
        known = np.empty(0, np.int64)
        for part in _slices(int(lists.starts[place]), int(lists.starts[place + 1]), _RIGHT):
            others = lists.order[part]
            squares = left @ lists.right[part].T
            one, other = np.divmod(np.flatnonzero(squares <= _within(farthest, others[0])[:, None]), len(others))
            apart = rows[one] != others[other]
            one, other = one[apart], other[apart]
            known = np.concatenate([known, _packed(one, squares[one, other], others[other])])
            if len(known) > 2 * best.depth * len(rows):
                known = _cut(known, best.depth)
                own = known >> _BELOW_ROW
                full = _places(own) == best.depth - 1
                farthest[own[full]] = np.minimum(farthest[own[full]], known[full] & _NONE)
        kept.append(known + ((rows[known >> _BELOW_ROW] - (known >> _BELOW_ROW)) << _BELOW_ROW))
    return np.concatenate(kept)


def _of_friends(vectors: Float32, best: _Best, near: Rows, rows: Int64) -> Int64:
    """Return the new pairs of some rows and the neighbors of their neighbors that are within the limits."""
    first = near[rows, :_FRIENDS]
    second = np.where(first[:, :, None] < 0, -1, near[first, :_FRIENDS]).reshape(len(rows), -1)
    own = rows.astype(np.int32)[:, None]
    # A known neighbor sorts before the same row as a candidate.
    seen = np.concatenate([own, np.full_like(own, -1), near[rows]], axis=1) * 2
    ranked = np.concatenate([seen, second * 2 + 1], axis=1)
    ranked.sort(axis=1)
    new = (ranked & 1).astype(np.bool_)
    new[:, 1:] &= ranked[:, 1:] >> 1 != ranked[:, :-1] >> 1
    one, place = np.nonzero(new)
    others = (ranked[one, place] >> 1).astype(np.int64)
    squared = np.empty(len(one), np.float32)
    for some in _slices(0, len(one), _PAIRS):
        apart = vectors[rows[one[some]]]
        apart -= vectors[others[some]]
        squared[some] = np.einsum("ij,ij->i", apart, apart)
    packed = _packed(rows[one], squared, others)
    nearer: Int64 = packed[(packed & _NONE) < best.farthest[rows[one]]]
    return nearer


def _compare_with_all(vectors: Float32, best: _Best) -> None:
    """Compare vectors whose lists hold too few others with all vectors."""
    lacking = np.flatnonzero(best.farthest == _NONE)
    if len(lacking):
        best.forget(lacking)
        n = len(vectors)
        whole = _Lists(np.arange(n), np.array([0, n]), np.zeros((n, 1), np.int64), _right(vectors))
        best.collect([_visit(vectors, whole, best, 0, lacking)])


def _within(farthest: Int64, first: int) -> Float32:
    """Return the largest squared distance of a neighbor at or after the row `first`: rows decide among equal ones."""
    steps = (farthest >> _ROW_BITS) - (first > (farthest & (MOST - 1)))
    return np.ldexp(steps.astype(np.float32), -2 * _BITS)


def _packed(rows: Int64, distances: Float32, others: Int64) -> Int64:
    """Return one number for each pair, in the order of row, distance, other row."""
    return (rows << (_DISTANCE_BITS + _ROW_BITS)) | (_steps(distances) << _ROW_BITS) | others


def _steps(squares: Float32) -> Int64:
    """Return squared distances as multiples of the grid's step."""
    return np.ldexp(np.maximum(squares, 0), 2 * _BITS).astype(np.int64)


def _left(vectors: Float32) -> Float32:
    norms = np.einsum("ij,ij->i", vectors, vectors)
    return np.concatenate([-2 * vectors, norms[:, None], np.ones((len(vectors), 1), np.float32)], axis=1)


def _right(vectors: Float32) -> Float32:
    norms = np.einsum("ij,ij->i", vectors, vectors)
    return np.concatenate([vectors, np.ones((len(vectors), 1), np.float32), norms[:, None]], axis=1)


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
