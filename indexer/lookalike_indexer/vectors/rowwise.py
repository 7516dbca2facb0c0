"""Sums over the elements of rows in float64, each row separately.

A matrix product rounds differently for each batch shape, so results that must not depend on the batch use these sums.
numpy's sum over a contiguous last axis is pairwise within each row and independent of other rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Float64

# Bytes of the float64 block of rows that is processed at a time: a few of them fit into a CPU cache.
_BLOCK_BYTES = 1 << 18


def squared_norms(rows: Float32) -> Float64:
    """Return the sum of squares of each row, shape (n,)."""
    out = np.empty(len(rows), np.float64)
    _in_blocks(_square, out, rows)
    return out


def normalized(rows: Float32) -> Float32:
    """Return rows (n, dim) scaled to length 1 in float64. Rows of zeros, and rows that are not finite, stay so."""
    out = np.empty_like(rows)
    _in_blocks(_normalize, out, rows)
    return out


def squared_distances(
    left: Float32, left_rows: npt.NDArray[np.int64], right: Float32, right_rows: npt.NDArray[np.int64]
) -> Float64:
    """Return the squared Euclidean distances of left[left_rows[i]] and right[right_rows[i]], shape (pairs,)."""
    out = np.empty(len(left_rows), np.float64)
    for piece, one, other in _pairs(left, left_rows, right, right_rows):
        np.subtract(one, other, out=one)
        np.square(one, out=one).sum(axis=1, out=out[piece])
    return out


def inner_products(
    left: Float32, left_rows: npt.NDArray[np.int64], right: Float32, right_rows: npt.NDArray[np.int64]
) -> Float64:
    """Return the inner product of left[left_rows[i]] and right[right_rows[i]] for each i, shape (pairs,)."""
    out = np.empty(len(left_rows), np.float64)
    for piece, one, other in _pairs(left, left_rows, right, right_rows):
        np.multiply(one, other, out=one).sum(axis=1, out=out[piece])
    return out


def squared_distances_of_each(left: Float32, right: Float32) -> Float64:
    """Return the squared Euclidean distance of left[i] (n, dim) and each row of right[i] (n, m, dim), shape (n, m).

    It is bit-identical to `squared_distances`, without copies of the chosen rows.
    """
    out = np.empty(right.shape[:2], np.float64)
    _in_blocks(_subtract_and_square, out, left, right)
    return out


def inner_products_of_each(left: Float32, right: Float32) -> Float64:
    """Return the inner product of left[i] (n, dim) and each row of right[i] (n, m, dim), shape (n, m).

    It is bit-identical to `inner_products`, without copies of the chosen rows.
    """
    out = np.empty(right.shape[:2], np.float64)
    _in_blocks(_multiply, out, left, right)
    return out


def _square(wide: Float64, out: Float64, rows: Float32) -> None:
    wide[...] = rows
    np.add.reduce(np.square(wide, out=wide), axis=1, out=out)


def _normalize(wide: Float64, out: Float32, rows: Float32) -> None:
    wide[...] = rows
    lengths = np.sqrt(np.add.reduce(np.square(wide, out=wide), axis=1))
    lengths[lengths == 0] = 1
    wide[...] = rows
    with np.errstate(invalid="ignore"):
        out[...] = np.divide(wide, lengths[:, None], out=wide)


def _subtract_and_square(wide: Float64, out: Float64, left: Float32, right: Float32) -> None:
    np.subtract(_repeated(left, wide), _converted(right, wide), out=wide)
    np.add.reduce(np.square(wide, out=wide), axis=2, out=out)


def _multiply(wide: Float64, out: Float64, left: Float32, right: Float32) -> None:
    np.multiply(_repeated(left, wide), _converted(right, wide), out=wide)
    np.add.reduce(wide, axis=2, out=out)


def _repeated(left: Float32, wide: Float64) -> Float64:
    """Return `left` (n, dim) in float64 for each of the m rows, in the shape of `wide`, (n, m, dim).

    numpy moves broadcast operands, and those that it writes, through buffers. That takes up to ten times as long as the
    operation itself, depending on where the memory lies.
    """
    repeated = np.empty_like(wide)
    repeated[...] = left[:, None]
    return repeated


def _converted(right: Float32, wide: Float64) -> Float64:
    wide[...] = right
    return wide


def _in_blocks(fill: Callable[..., None], out: npt.NDArray[Any], *arrays: Float32) -> None:
    """Call `fill` with memory for the last array in float64, with `out`, and with the arrays, some rows at a time.

    The memory is reused. A ufunc that converts its arguments itself takes twice as long.
    """
    last = arrays[-1]
    step = max(1, _BLOCK_BYTES // (8 * max(1, math.prod(last.shape[1:]))))
    wide = np.empty((min(step, len(last)), *last.shape[1:]), np.float64)
    if len(last) <= step:
        fill(wide, out, *arrays)
        return
    for start in range(0, len(last), step):
        some = slice(start, start + step)
        fill(wide[: len(last) - start], out[some], *(array[some] for array in arrays))


def _pairs(
    left: Float32, left_rows: npt.NDArray[np.int64], right: Float32, right_rows: npt.NDArray[np.int64]
) -> Iterator[tuple[slice, Float64, Float64]]:
    """Yield some of the pairs at a time, in float64; the next ones reuse their memory.

    A ufunc that converts its arguments itself takes five times as long.
    """
    pieces = list(_pieces(len(left_rows), left.shape[1]))
    step = pieces[0].stop if pieces else 0
    ones, others = (np.empty((step, left.shape[1]), np.float64) for _ in range(2))
    for piece in pieces:
        one, other = ones[: piece.stop - piece.start], others[: piece.stop - piece.start]
        one[...] = left[left_rows[piece]]
        other[...] = right[right_rows[piece]]
        yield piece, one, other


def _pieces(rows: int, dim: int) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // (8 * max(1, dim)))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
