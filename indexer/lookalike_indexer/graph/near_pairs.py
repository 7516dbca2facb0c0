"""The nearest others of each of some vectors of few dimensions, all of them: each pair is looked at once.

Inverted lists say how far the candidates of each vector are at most. A product of all pairs then finds whatever is
nearer; there is little of it, so that no scores have to be put in order. Coordinates are multiples of 2^-11 of the
longest vector, so that float32 holds every sum exactly: the result depends neither on blocks nor on threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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

# More have no room beside a distance in one number of 64 bits.
MOST = 1 << 19
_BITS = 11
_DISTANCE_BITS = 25
# The lists that are visited, of about three times the square root of n.
_NPROBE = 8
_POINTS_PER_LIST, _ITERATIONS, _SEED = 40, 4, 4321
# Vectors of a block that are compared at a time: their scores stay in a processor's cache.
_LEFT, _RIGHT = 512, 2048
_ASKED = 8192


def rounded(vectors: Float32) -> Float32:
    """Vectors (n, c), divided by a power of two above their longest and rounded as this module needs them."""
    longest = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max(initial=0)))
    exponent = int(np.frexp(longest)[1])
    return np.ldexp(np.rint(np.ldexp(vectors, _BITS - exponent)), -_BITS).astype(np.float32)


def nearest_pairs(vectors: Float32, depth: int, bar: Bar) -> Rows:
    """The `depth` nearest others of each vector (n, c), n <= MOST, by Euclidean distance: rows (n, depth), int32.

    Vectors are as `rounded` gives them. Nearest first, equal distances by ascending row; -1 ends a row with fewer.
    The bar is advanced by n in all.
    """
    n = len(vectors)
    if n > MOST:
        raise ValueError(f"{n} vectors, more than {MOST}")
    norms = np.einsum("ij,ij->i", vectors, vectors)
    ones = np.ones_like(norms)
    # Squared distances are products of these.
    left = np.concatenate([-2 * vectors, norms[:, None], ones[:, None]], axis=1)
    right = np.concatenate([vectors, ones[:, None], norms[:, None]], axis=1)
    limits = _limits(left, right, vectors, min(depth, n - 1))
    found: list[Int64] = []

    def compare(rows: slice) -> int:
        found.extend(_near(left, right, limits, rows, columns) for columns in _slices(rows.start, n, _RIGHT))
        return len(left[rows])

    # Each thread has a product of its own.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(processors()) as pool:
        for done in pool.map(compare, _slices(0, n, _LEFT)):
            bar.advance(done)
    return _ordered(np.concatenate([np.empty(0, np.int64), *found]), n, depth)


def _near(left: Float32, right: Float32, limits: Float32, rows: slice, columns: slice) -> Int64:
    """What is within the limits of either side, packed; of the columns only those after the row."""
    squares = left[rows] @ right[columns].T
    near = squares <= limits[rows, None]
    near |= squares <= limits[columns]
    one, other = np.divmod(np.flatnonzero(near), near.shape[1])
    distances = squares[one, other]
    one, other = one + rows.start, other + columns.start
    kept = one < other
    one, other, distances = one[kept], other[kept], distances[kept]
    forth, back = distances <= limits[one], distances <= limits[other]
    return np.concatenate(
        [_packed(one[forth], distances[forth], other[forth]), _packed(other[back], distances[back], one[back])]
    )


def _packed(rows: Int64, distances: Float32, others: Int64) -> Int64:
    """One number for each, in the order of row, distance, other row."""
    whole = np.ldexp(np.maximum(distances, 0), 2 * _BITS).astype(np.int64)
    size = (MOST - 1).bit_length()
    return (rows << (_DISTANCE_BITS + size)) | (whole << size) | others


def _ordered(packed: Int64, n: int, depth: int) -> Rows:
    packed.sort()
    size = (MOST - 1).bit_length()
    rows = packed >> (_DISTANCE_BITS + size)
    others = (packed & (MOST - 1)).astype(np.int32)
    places = np.arange(len(rows)) - np.searchsorted(rows, np.arange(n))[rows]
    kept = places < depth
    out = np.full((n, depth), -1, np.int32)
    out[rows[kept], places[kept]] = others[kept]
    return out


def _limits(left: Float32, right: Float32, vectors: Float32, depth: int) -> Float32:
    """A squared distance within which each vector has at least `depth` others."""
    n, dim = vectors.shape
    limits = np.full(n, np.inf, np.float32)
    if depth < 1:
        return limits
    nlist = max(1, min(2 ** round(np.log2(3 * n**0.5)), n // _POINTS_PER_LIST))
    index: Any = faiss.index_factory(dim, f"IVF{nlist},SQ8")
    index.cp.niter, index.cp.max_points_per_centroid = _ITERATIONS, _POINTS_PER_LIST
    index.train(vectors[np.sort(choose_rows(n, _POINTS_PER_LIST * max(nlist, 256), _SEED))])
    index.add(vectors)
    index.nprobe = min(nlist, _NPROBE)

    def farthest(rows: slice, found: Int64) -> None:
        own = np.arange(rows.start, rows.stop)[:, None]
        others = right[found]
        squares = np.matmul(others, left[rows][:, :, None])[:, :, 0]
        squares[(found < 0) | (found == own)] = np.inf
        limits[rows] = np.partition(squares, depth - 1, axis=1)[:, depth - 1]

    with ThreadPoolExecutor(processors()) as pool:
        for some in _slices(0, n, _ASKED):
            found = index.search(vectors[some], depth + 1)[1]
            pieces = list(_slices(some.start, some.stop, 64))
            asked = [found[each.start - some.start : each.stop - some.start] for each in pieces]
            for _ in pool.map(farthest, pieces, asked):
                pass
    # Lists that hold too few tell nothing.
    lacking = np.flatnonzero(np.isinf(limits))
    for piece in _slices(0, len(lacking), 64):
        rows = lacking[piece]
        found = faiss.knn(vectors[rows], vectors, depth + 1, metric=faiss.METRIC_L2)[1]
        limits[rows] = np.matmul(right[found], left[rows][:, :, None])[:, :, 0].max(axis=1)
    return limits


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
