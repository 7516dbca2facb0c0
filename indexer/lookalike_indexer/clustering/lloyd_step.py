"""Iteration of Lloyd's algorithm over shares of the vectors.

On CPUs the shares' sums are exact (`centroid_sums.py`), so the result does not depend on the number of shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering.shares import Share


class LloydStep:
    """Iterations over the same vectors; the device of the first share does everything that is not a share's work."""

    def __init__(self, shares: Sequence[Share], spherical: bool) -> None:
        self._shares, self._spherical = shares, spherical
        self._squares = math.fsum(square for share in shares for square in share.squares())

    def __call__(self, centroids: Float32) -> tuple[Float32, float]:
        """Return the centroids (k, dim) after one update, and the inertia before it."""
        old = torch.from_numpy(centroids).to(self._shares[0].device)
        squares = _row_products(old.double(), old.double())
        sums, sizes = self._summed(old, squares.float())
        # The sum over clusters of |x|^2 - 2 xc + |c|^2, without reading any vector again.
        products = _row_products(sums.double(), old.double()).tolist()
        lengths = (sizes.double() * squares).tolist()
        inertia = math.fsum([self._squares, *(-2 * product for product in products), *lengths])
        return self._updated(old, sums, sizes).cpu().numpy(), max(inertia, 0.0)

    def _summed(self, centroids: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum (k, dim) and number (k,) of each centroid's vectors, the shares added in order."""
        first, *others = self._shares
        if not others:
            return first.summed(centroids, squares)
        with ThreadPoolExecutor(len(self._shares)) as threads:
            found = list(threads.map(lambda share: share.summed(centroids, squares), self._shares))
        sums, sizes = found[0]
        for more, counted in found[1:]:
            # Not in place: a share may reuse its own sums.
            sums = sums + more.to(first.device)
            sizes = sizes + counted.to(first.device)
        return sums, sizes

    def _updated(self, old: Tensor, sums: Tensor, sizes: Tensor) -> Tensor:
        new = (sums / sizes.clamp(min=1).unsqueeze(1)).float()
        _fill_empty(new, sizes)
        if self._spherical:
            length = _row_products(new.double(), new.double()).sqrt().float().unsqueeze(1)
            new = torch.where(length > 0, new / length.clamp(min=torch.finfo(new.dtype).tiny), old)
        return new


def _row_products(left: Tensor, right: Tensor) -> Tensor:
    """Return the inner product of each row of two float64 tensors (n, dim): (n,)."""
    if left.device.type != "cpu":
        return (left * right).sum(dim=1)
    # Sums of torch may depend on the number of threads.
    return torch.from_numpy(np.einsum("ij,ij->i", left.numpy(), right.numpy()))


def _fill_empty(centroids: Tensor, sizes: Tensor) -> None:
    """Give each empty cluster half of the largest one, as two slightly shifted points; change both tensors.

    faiss splits clusters at random by size (Johnson, Douze, Jegou, 2017); splitting the largest one needs no random
    numbers, so that the result depends only on the seed.
    """
    apart = torch.full_like(centroids[0], 1 / 1024)
    apart[1::2] *= -1
    for empty in torch.nonzero(sizes == 0).flatten().tolist():
        largest = int(sizes.argmax())
        centroids[empty] = centroids[largest] * (1 + apart)
        centroids[largest] *= 1 - apart
        sizes[empty] = sizes[largest] // 2
        sizes[largest] -= sizes[empty]
