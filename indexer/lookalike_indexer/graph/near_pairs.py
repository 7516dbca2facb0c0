"""Nearest neighbors among all of a set of vectors of few dimensions: each pair is compared once.

Inverted lists give an upper limit for the distance of each vector's candidates. A product of all pairs then finds all
nearer vectors; they are few, so that scores need no sorting. Coordinates are multiples of 2^-11 of the longest vector,
so that float32 represents every sum exactly. The result does not depend on blocks or threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

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
# The number of visited lists, of about three times the square root of n.
_NPROBE = 8
_POINTS_PER_LIST, _ITERATIONS, _SEED = 40, 4, 4321
# Vectors of a block that are compared at a time: their scores fit into a CPU cache.
_LEFT, _RIGHT = 512, 2048
_ASKED = 8192
# Pending pairs of a block of `_RIGHT` vectors, beyond its nearest, before the farther ones are dropped.
_WAITING = 1 << 14
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

    Vectors come from `rounded`. Nearest first, equal distances by ascending row; -1 ends a shorter row. The bar is
    advanced by n in total. Memory for each vector: 5 bytes for each dimension in addition to `vectors`, and at most 64
    bytes plus 20 for each of `depth`, even if many vectors are equal.
    """
    n = len(vectors)
    if n > MOST:
        raise ValueError(f"{n} vectors, more than {MOST}")
    out = np.full((n, depth), -1, np.int32)
    wanted = min(depth, n - 1)
    if wanted < 1:
        bar.advance(n)
        return out
    # Squared distances are products of these and those of `_left`.
    norms = np.einsum("ij,ij->i", vectors, vectors)
    right = np.concatenate([vectors, np.ones((n, 1), np.float32), norms[:, None]], axis=1)
    best = [_Best(some, wanted) for some in _slices(0, n, _RIGHT)]
    farthest = _steps(_limits(right, vectors, wanted)) << _ROW_BITS | (MOST - 1)

    def compare(rows: slice) -> int:
        left = _left(vectors[rows])
        own = rows.start // _RIGHT
        for other in best[own:]:
            forth, back = _near(left, right, farthest, rows, other.rows)
            best[own].add(forth, farthest)
            other.add(back, farthest)
        return len(left)

    blocks = [rows for each in best for rows in _slices(each.rows.start, each.rows.stop, _LEFT)]
    # Each thread computes its own product.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(processors()) as pool:
        for done in pool.map(compare, blocks):
            bar.advance(done)
    for each in best:
        each.write(out)
    return out


class _Best:
    """The known nearest neighbors of a block of vectors, filled by several threads."""

    def __init__(self, rows: slice, depth: int) -> None:
        self.rows, self._depth = rows, depth
        self._lock = Lock()
        self._found: list[Int64] = []
        self._waiting = 0

    def add(self, packed: Int64, farthest: Int64) -> None:
        """Add pairs from `_packed`; lower the `farthest` limits of all vectors that are known, as used by `_near`."""
        if not len(packed):
            return
        with self._lock:
            self._found.append(packed)
            self._waiting += len(packed)
            if self._waiting > max(_WAITING, (self.rows.stop - self.rows.start) * self._depth // 2):
                rows, places, kept = self._cut()
                full = places == self._depth - 1
                farthest[rows[full]] = kept[full] & ((1 << (_DISTANCE_BITS + _ROW_BITS)) - 1)

    def write(self, out: Rows) -> None:
        """Write the lists to their rows of `out`, and release them."""
        rows, places, kept = self._cut()
        out[rows, places] = kept & (MOST - 1)
        self._found.clear()

    def _cut(self) -> tuple[Int64, Int64, Int64]:
        """Keep the nearest of each vector; return the row of each pair, its place in the row's list, and the pair."""
        packed = np.concatenate([np.empty(0, np.int64), *self._found])
        packed.sort()
        rows = packed >> (_DISTANCE_BITS + _ROW_BITS)
        places = (
            np.arange(len(rows))
            - np.searchsorted(rows, np.arange(self.rows.start, self.rows.stop))[rows - self.rows.start]
        )
        near = places < self._depth
        kept = packed[near]
        self._found, self._waiting = [kept], 0
        return rows[near], places[near], kept


def _near(left: Float32, right: Float32, farthest: Int64, rows: slice, columns: slice) -> tuple[Int64, Int64]:
    """Return the pairs that are near enough for the row, and those for the column; columns must come after the row.

    `farthest` has for each vector the limit of its last neighbor: distance and row, as in `_packed`.
    """
    squares = left @ right[columns].T
    of_rows, of_columns = _within(farthest[rows], columns.start), _within(farthest[columns], rows.start)
    near = squares <= of_rows[:, None]
    near |= squares <= of_columns
    one, other = np.divmod(np.flatnonzero(near), near.shape[1])
    kept = one + rows.start < other + columns.start
    one, other = one[kept], other[kept]
    distances = squares[one, other]
    forth, back = distances <= of_rows[one], distances <= of_columns[other]
    one, other = one + rows.start, other + columns.start
    return _packed(one[forth], distances[forth], other[forth]), _packed(other[back], distances[back], one[back])


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


def _limits(right: Float32, vectors: Float32, depth: int) -> Float32:
    """Return a squared distance within which each vector has at least `depth` others."""
    n, dim = vectors.shape
    limits = np.full(n, np.inf, np.float32)
    nlist = max(1, min(2 ** round(np.log2(3 * n**0.5)), n // _POINTS_PER_LIST))
    index: Any = faiss.index_factory(dim, f"IVF{nlist},SQ8")
    index.cp.niter, index.cp.max_points_per_centroid = _ITERATIONS, _POINTS_PER_LIST
    index.train(vectors[np.sort(choose_rows(n, _POINTS_PER_LIST * max(nlist, 256), _SEED))])
    index.add(vectors)
    index.nprobe = min(nlist, _NPROBE)

    def farthest(rows: slice, found: Int64) -> None:
        own = np.arange(rows.start, rows.stop)[:, None]
        others = right[found]
        squares = np.matmul(others, _left(vectors[rows])[:, :, None])[:, :, 0]
        squares[(found < 0) | (found == own)] = np.inf
        limits[rows] = np.partition(squares, depth - 1, axis=1)[:, depth - 1]

    with ThreadPoolExecutor(processors()) as pool:
        for some in _slices(0, n, _ASKED):
            found = index.search(vectors[some], depth + 1)[1]
            pieces = list(_slices(some.start, some.stop, 64))
            asked = [found[each.start - some.start : each.stop - some.start] for each in pieces]
            for _ in pool.map(farthest, pieces, asked):
                pass
    # Lists that hold too few vectors give no limit.
    lacking = np.flatnonzero(np.isinf(limits))
    for piece in _slices(0, len(lacking), 64):
        rows = lacking[piece]
        found = faiss.knn(vectors[rows], vectors, depth + 1, metric=faiss.METRIC_L2)[1]
        limits[rows] = np.matmul(right[found], _left(vectors[rows])[:, :, None])[:, :, 0].max(axis=1)
    return limits


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
