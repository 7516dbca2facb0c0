"""The sum of each centroid's vectors, added up in an order that does not change from run to run."""

from __future__ import annotations

import torch
from torch import Tensor


class FullSums:
    """Adds up all vectors in each iteration: for GPUs, whose memory is fast."""

    total: Tensor

    def begin(self, centroids: Tensor) -> None:
        """An iteration with centroids (k, dim) begins."""
        self.total = torch.zeros_like(centroids)

    def add(self, start: int, block: Tensor, nearest: Tensor, counted: Tensor) -> None:
        """The vectors from `start` on belong to the centroids `nearest` (rows,), `counted` (k,) to each."""
        # On GPUs index_add_ would add in whatever order its threads come.
        in_order = block[nearest.argsort(stable=True)]
        self.total += torch.segment_reduce(in_order, "sum", lengths=counted, axis=0, initial=0.0, unsafe=True)


class IncrementalSums:
    """Adds and takes away only what has moved since the last iteration, which soon is one vector in twenty.

    In float64, so that what was added and taken away many times leaves nothing behind that would matter.
    """

    def __init__(self, rows: int) -> None:
        self._nearest = torch.full((rows,), -1)
        self.total = torch.empty(0)

    def begin(self, centroids: Tensor) -> None:
        """An iteration with centroids (k, dim) begins."""
        if self.total.shape != centroids.shape:
            self.total = torch.zeros(centroids.shape, dtype=torch.float64)

    def add(self, start: int, block: Tensor, nearest: Tensor, counted: Tensor) -> None:
        """The vectors from `start` on belong to the centroids `nearest` (rows,)."""
        before = self._nearest[start : start + len(block)]
        if len(before) and int(before[0]) < 0:
            # All of them are new, and would cost much to convert.
            self.total += torch.zeros(self.total.shape).index_add_(0, nearest, block)
        else:
            moved = torch.nonzero(nearest != before)[:, 0]
            rows = block[moved].double()
            self.total.index_add_(0, nearest[moved], rows)
            self.total.index_add_(0, before[moved], rows, alpha=-1)
        before.copy_(nearest)
