"""Sums over the elements of rows in float64, each row separately.

A matrix product rounds differently for each batch shape, so results that must not depend on the batch use these sums.
numpy's sum over a contiguous last axis is pairwise within each row and independent of other rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Float64

# Bytes of the float64 block of rows that is processed at a time: a few of them fit into a CPU cache.
_BLOCK_BYTES = 1 << 18


def squared_norms(rows: Float32) -> Float64:
    """Return the sum of squares of each row, shape (n,)."""
    out = np.empty(len(rows), np.float64)
    for piece in _pieces(*rows.shape):
        out[piece] = np.square(rows[piece], dtype=np.float64).sum(axis=1)
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
    for piece, one, others in _each(left, right):
        np.subtract(one, others, out=others)
        np.square(others, out=others).sum(axis=2, out=out[piece])
    return out


def inner_products_of_each(left: Float32, right: Float32) -> Float64:
    """Return the inner product of left[i] (n, dim) and each row of right[i] (n, m, dim), shape (n, m).

    It is bit-identical to `inner_products`, without copies of the chosen rows.
    """
    out = np.empty(right.shape[:2], np.float64)
    for piece, one, others in _each(left, right):
        np.multiply(one, others, out=others).sum(axis=2, out=out[piece])
    return out


def _each(left: Float32, right: Float32) -> Iterator[tuple[slice, Float64, Float64]]:
    """Yield some rows of `left` (n, 1, dim) and of `right` (n, m, dim) at a time, as `_pairs` yields pairs."""
    pieces = list(_pieces(len(right), right.shape[1] * right.shape[2]))
    step = pieces[0].stop if pieces else 0
    ones, others = np.empty((step, 1, left.shape[1]), np.float64), np.empty((step, *right.shape[1:]), np.float64)
    for piece in pieces:
        one, other = ones[: piece.stop - piece.start], others[: piece.stop - piece.start]
        one[:, 0] = left[piece]
        other[...] = right[piece]
        yield piece, one, other


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
