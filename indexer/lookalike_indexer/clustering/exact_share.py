"""Share of k-means on a CPU without fast products of reduced precision: exact assignments and sums."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering.assign import Assigner
from lookalike_indexer.clustering.centroid_sums import IncrementalSums
from lookalike_indexer.clustering.shares import BLOCK, sums_of_blocks
from lookalike_indexer.vectors import rowwise


class ExactShare:
    """Implementation of `shares.Share`. Its results do not depend on threads, blocks or the kind of CPU."""

    device = torch.device("cpu")

    def __init__(self, vectors: Float32, spacing: float) -> None:
        """Create a share of vectors (n, dim); `spacing` is that of the grid of all shares."""
        self._vectors = vectors
        self._squares = rowwise.squared_norms(vectors)
        self._norms = np.sqrt(self._squares)
        self._sums = IncrementalSums(len(vectors), spacing)

    def squares(self) -> list[float]:
        return sums_of_blocks(self._squares)

    def summed(self, centroids: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        assigner = Assigner(centroids.numpy())
        self._sums.begin(centroids)
        sizes = torch.zeros(len(centroids), dtype=torch.int64)
        for start in range(0, len(self._vectors), BLOCK):
            block = self._vectors[start : start + BLOCK]
            nearest = torch.from_numpy(assigner.nearest(block, self._norms[start : start + BLOCK]))
            counted = torch.bincount(nearest, minlength=len(centroids))
            self._sums.add(start, torch.from_numpy(block), nearest, counted)
            sizes += counted
        return self._sums.total, sizes
