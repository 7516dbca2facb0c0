"""Sums of each centroid's vectors, which do not depend on the run; on CPUs also not on the order of addition."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lookalike_indexer.arrays import Float32
from lookalike_indexer.numerics.grid import unit_scale
from lookalike_indexer.vectors import rowwise

# Sums of float64 are exact up to this many bits.
_EXACT_BITS = 52
# The maximum exponent of the factor: its product with a vector stays finite in float32.
_MOST_EXPONENT = 100


class FullSums:
    """Sums of all vectors in each iteration: for GPUs, whose memory is fast."""

    total: Tensor

    def begin(self, centroids: Tensor) -> None:
        """Begin an iteration with centroids (k, dim)."""
        self.total = torch.zeros_like(centroids)

    def add(self, start: int, block: Tensor, nearest: Tensor, counted: Tensor) -> None:
        """Add vectors from `start` on, whose centroids are `nearest` (rows,), `counted` (k,) of each."""
        # On GPUs index_add_ would add in the nondeterministic order of its threads.
        in_order = block[nearest.argsort(stable=True)]
        self.total += torch.segment_reduce(in_order, "sum", lengths=counted, axis=0, initial=0.0, unsafe=True)


class IncrementalSums:
    """Sums that add and subtract only the vectors that moved since the last iteration: soon one in twenty.

    Vectors are rounded to multiples of a power of two, so that float64 sums are exact (`numerics.grid`). They depend
    neither on earlier iterations nor on the order, and sums of several shares add up to those of the whole.
    """

    def __init__(self, rows: int, spacing: float) -> None:
        """Create the sums of a number of vectors; `spacing` is that of the grid, from `grid_spacing`."""
        self._nearest = torch.full((rows,), -1)
        self._spacing = spacing
        self._multiples = torch.empty(0)

    @property
    def total(self) -> Tensor:
        """The sum of each centroid's vectors, float64 (k, dim)."""
        return self._multiples * self._spacing

    def begin(self, centroids: Tensor) -> None:
        """Begin an iteration with centroids (k, dim)."""
        if self._multiples.shape != centroids.shape:
            self._multiples = torch.zeros(centroids.shape, dtype=torch.float64)
            self._nearest.fill_(-1)

    def add(self, start: int, block: Tensor, nearest: Tensor, counted: Tensor) -> None:
        """Add vectors from `start` on, whose centroids are `nearest` (rows,)."""
        before = self._nearest[start : start + len(block)]
        moved = torch.nonzero(nearest != before)[:, 0]
        # A float32 rounded to an integer is a float32, so the conversion to float64 comes last.
        rows = (block[moved] * (1 / self._spacing)).round_().double()
        self._multiples.index_add_(0, nearest[moved], rows)
        # All vectors of a block are new, or none is.
        if len(before) and int(before[0]) >= 0:
            self._multiples.index_add_(0, before[moved], rows, alpha=-1)
        before.copy_(nearest)


def grid_spacing(vectors: Float32) -> float:
    """Return the spacing of the grid, a power of two, on which float64 sums of all vectors (n, dim) are exact."""
    longest = math.sqrt(float(rowwise.squared_norms(vectors).max()))
    bits = _EXACT_BITS - math.ceil(math.log2(len(vectors) + 1))
    exponent = bits + int(np.log2(unit_scale(longest)))
    return 2.0 ** -min(exponent, _MOST_EXPONENT)
