"""Vectors on a grid of fixed-point numbers, between which matrix products are exact.

A matrix product adds in an order that depends on the library's kernel, the number of threads and the shape of the
batch, and each order rounds differently. If every factor is a multiple of the same power of two, and the sums stay
below 2^53 multiples of the product, float64 does not round, and every order gives the same bits (fixed-point
pre-rounding; Demmel and Nguyen: Parallel Reproducible Summation, 2015).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64

# Vectors of length 1 have products below 2^52 multiples of 2^-52. One bit remains for lengths that were rounded up.
UNIT_BITS = 26
# Elements of the largest block of a product.
_BLOCK = 1 << 22


def on_grid(vectors: npt.NDArray[np.floating], bits: int = UNIT_BITS) -> Float64:
    """Return vectors (n, dim), finite, rounded to multiples of 2^-bits.

    The length of each, times 2^bits, must be at most 2^26 or slightly more: the default is for unit vectors. A
    coordinate changes by at most 2^-(bits + 1). Sums of fewer than 2^26 such vectors are exact as well.
    """
    scaled: Float64 = np.multiply(vectors, 2.0**bits, dtype=np.float64)
    np.rint(scaled, out=scaled)
    # Adding zero turns -0.0 into 0.0, so that equal vectors have equal bytes.
    scaled += 0.0
    scaled *= 2.0**-bits
    return scaled


def unit_scale(longest: float) -> float:
    """Return the power of two that scales vectors to a length of at most 1, or slightly more; `longest` is the largest
    length.

    A power of two changes no bit of a vector's mantissa.
    """
    # Unit vectors, which may be slightly longer than 1, keep their length.
    return 2.0 ** -math.ceil(math.log2(longest) - 1e-3) if longest > 0 else 1.0


def squared_norms(points: Float64) -> Float64:
    """Return the exact squared length of each point (n, dim) of the grid: (n,)."""
    norms: Float64 = np.einsum("ij,ij->i", points, points)
    return norms


def squared_distances(points: Float64, others: Float64 | None = None) -> Float64:
    """Return the squared Euclidean distances of points of one grid, (n, dim) and (m, dim), by default all pairs: (n,
    m).

    Those of equal points are 0.
    """
    others = points if others is None else others
    lengths, theirs = squared_norms(points), squared_norms(others)
    apart = np.empty((len(points), len(others)))
    step = max(1, _BLOCK // max(1, len(others)))
    for start in range(0, len(points), step):
        some = slice(start, start + step)
        np.matmul(points[some], others.T, out=apart[some])
        apart[some] *= -2
        apart[some] += lengths[some, None] + theirs
    return apart
