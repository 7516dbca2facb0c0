"""Sums of each centroid's vectors, accumulated in the same order in every run."""

from __future__ import annotations

import torch
from torch import Tensor


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

    They are float64, so that the rounding errors of repeated updates stay negligible.
    """

    def __init__(self, rows: int) -> None:
        self._nearest = torch.full((rows,), -1)
        self.total = torch.empty(0)

    def begin(self, centroids: Tensor) -> None:
        """Begin an iteration with centroids (k, dim)."""
        if self.total.shape != centroids.shape:
            self.total = torch.zeros(centroids.shape, dtype=torch.float64)

    def add(self, start: int, block: Tensor, nearest: Tensor, counted: Tensor) -> None:
        """Add vectors from `start` on, whose centroids are `nearest` (rows,)."""
        before = self._nearest[start : start + len(block)]
        if len(before) and int(before[0]) < 0:
            # All of them are new; converting them to float64 would be expensive.
            self.total += torch.zeros(self.total.shape).index_add_(0, nearest, block)
        else:
            moved = torch.nonzero(nearest != before)[:, 0]
            rows = block[moved].double()
            self.total.index_add_(0, nearest[moved], rows)
            self.total.index_add_(0, before[moved], rows, alpha=-1)
        before.copy_(nearest)
