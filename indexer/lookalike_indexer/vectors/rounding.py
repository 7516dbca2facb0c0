"""Bounds on the error of a float32 score.

`lambda * sqrt(n) * u`, with u = 2^-24, bounds the relative error of a sum of n products: Higham and Mary, A New
Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41(5), 2019. With lambda = 8 the probability
that one score exceeds the bound is below 1e-10. The bound holds for any order of summation, so for any batch, thread
count and instruction set.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64
from lookalike_indexer.collection.spec import Metric

_LAMBDA = 8.0
_UNIT = float(np.finfo(np.float32).eps) / 2
# Vectors of a cosine index have norm 1; decoded codes may differ slightly.
_LONGEST = 2.0


def score_error(dim: int, norms: Float64, distances: npt.NDArray[Any], metric: Metric) -> Float64:
    """Return upper bounds on the rounding error of float32 scores, shape (n,).

    `norms` (n,) are those of the queries. A bound holds for the scores of all vectors within `distances` (n,) of a
    query: inner products for cosine, squared distances for l2, also if computed as |x|^2 + |y|^2 - 2xy.
    """
    relative = _LAMBDA * math.sqrt(dim) * _UNIT
    if metric == "cosine":
        return relative * _LONGEST * norms
    # A vector within distance D of a query q has a norm of at most |q| + D.
    error: Float64 = relative * np.square(2 * norms + distances.astype(np.float64))
    return error


def worst_error(terms: int, lengths: Float64, dtype: npt.DTypeLike = np.float32) -> Float64:
    """Return upper bounds that always hold on the error of a score computed in this type, shape (n,).

    A sum of n products in any order has an error of at most n * u times the sum of the products' magnitudes (Higham,
    Accuracy and Stability of Numerical Algorithms, 3.1), which is at most the product of the norms. `terms` counts the
    dimensions and the other terms; `lengths` (n,) are the sums of both norms.
    """
    return np.asarray(terms * (np.finfo(dtype).eps / 2) * np.square(lengths), np.float64)


def largest_cost(distances: npt.NDArray[np.float32], metric: Metric) -> Float64:
    """Return the largest cost of a vector within a float32 distance, before rounding to float32; same shape.

    A cost is the negative inner product (cosine) or the squared distance (l2).
    """
    above = np.nextafter(distances, np.float32(np.inf)).astype(np.float64)
    return above - 1 if metric == "cosine" else np.square(above)


def to_distance(costs: npt.NDArray[Any], metric: Metric) -> npt.NDArray[np.float32]:
    """Return costs as the float32 distances that callers see, never negative; same shape."""
    distances = np.maximum(1 + costs, 0) if metric == "cosine" else np.sqrt(np.maximum(costs, 0))
    return np.asarray(distances, np.float32)
