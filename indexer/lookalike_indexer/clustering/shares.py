"""Interface of a share of the vectors that k-means trains on: those of one device or of several machines."""

from __future__ import annotations

import itertools
import math
from typing import Final, Protocol

import torch
from torch import Tensor

from lookalike_indexer.arrays import Float64

# Rows of one product on a CPU: their products with 256 centroids are 4 MiB. Shares begin at multiples of it, so that
# the blocks do not depend on the number of shares.
BLOCK: Final = 4096


class Share(Protocol):
    """Some of the vectors, in order."""

    @property
    def device(self) -> torch.device:
        """The device of the results."""
        ...

    def squares(self) -> list[float]:
        """Return the sum of the squared norms of each block of BLOCK vectors."""
        ...

    def summed(self, centroids: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum (k, dim) and number (k,) of the vectors nearest to each centroid (k, dim), on the device.

        `squares` are the squared norms of the centroids, float32 (k,).
        """
        ...


def cuts(rows: int, shares: int) -> list[tuple[int, int]]:
    """Return the first row of each share, and the row after its last one; no share is empty."""
    blocks = math.ceil(rows / BLOCK)
    limits = sorted({min(rows, blocks * number // shares * BLOCK) for number in range(shares + 1)})
    return list(itertools.pairwise(limits))


def sums_of_blocks(squares: Float64) -> list[float]:
    """Return the sum of each block of BLOCK squared norms (n,)."""
    return [math.fsum(squares[start : start + BLOCK]) for start in range(0, len(squares), BLOCK)]
