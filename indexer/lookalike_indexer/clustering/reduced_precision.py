"""Share of k-means with a matrix product of reduced precision, for devices that compute those faster.

The product only proposes candidates: if the gap between the two best centroids is within its rounding error, they are
compared again in float32. CPUs use `int8.py`, GPUs `bfloat16.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering import bfloat16, int8
from lookalike_indexer.clustering.bfloat16 import Bfloat16Scores
from lookalike_indexer.clustering.centroid_sums import FullSums, IncrementalSums
from lookalike_indexer.clustering.int8 import Int8Scores
from lookalike_indexer.clustering.scores import Scores
from lookalike_indexer.clustering.shares import BLOCK, sums_of_blocks
from lookalike_indexer.vectors import rowwise

# On a GPU a block should take longer than its launch: up to 2^28 products, 1 GiB in float32.
_GPU_PRODUCTS, _GPU_BLOCK = 1 << 28, 1 << 16
_CANDIDATES = 4


def supported(gpus: Sequence[int] = ()) -> bool:
    """Return whether these GPUs, or this CPU, compute products of reduced precision faster."""
    if gpus:
        return all(bfloat16.supported(torch.device("cuda", number)) for number in gpus)
    return int8.supported()


class ReducedShare:
    """Implementation of `shares.Share`. A GPU stores the vectors if they leave enough room, else gets blocks."""

    def __init__(self, vectors: Float32, spacing: float, device: str = "cpu") -> None:
        """Create a share of vectors (n, dim); `spacing` is that of the grid of all shares, `device` a name of torch."""
        self._device, self._rows = torch.device(device), vectors
        rows = torch.from_numpy(vectors)
        self._vectors = rows.to(self._device) if _has_room(self._device, rows.nbytes) else rows
        self._scores: Scores = (
            Bfloat16Scores(self._vectors, self._device) if self._device.type == "cuda" else Int8Scores(self._vectors)
        )
        self._sums = FullSums() if self._device.type == "cuda" else IncrementalSums(len(vectors), spacing)

    @property
    def device(self) -> torch.device:
        return self._device

    def squares(self) -> list[float]:
        if self._device.type != "cuda":
            return sums_of_blocks(rowwise.squared_norms(self._rows))
        blocks = torch.split(self._vectors, BLOCK)
        return [float(block.norm(dim=1).double().square().sum()) for block in blocks]

    def summed(self, centroids: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        centroids, squares = centroids.to(self.device), squares.to(self.device)
        self._scores.set_centroids(centroids, squares)
        self._sums.begin(centroids)
        sizes = torch.zeros(len(centroids), dtype=torch.int64, device=self.device)
        start = 0
        for block in torch.split(self._vectors, _block_rows(len(centroids), self.device)):
            here = block.to(self.device)
            nearest = self._nearest(start, here, centroids, squares)
            counted = torch.bincount(nearest, minlength=len(centroids))
            self._sums.add(start, here, nearest, counted)
            sizes += counted
            start += len(block)
        return self._sums.total, sizes

    def _nearest(self, start: int, block: Tensor, centroids: Tensor, squares: Tensor) -> Tensor:
        """Return the nearest centroid of each row of the block, which begins at vector `start`; int64 (rows,)."""
        scores = self._scores.between(start, start + len(block))
        best, candidates = _two_least(scores)
        nearest = candidates[:, 0].clone()
        error = self._scores.gap_error(start, best, candidates)
        rows = torch.nonzero(best[:, -1] - best[:, 0] <= error)[:, 0]
        if len(rows) and len(centroids) > 1:
            chosen = scores[rows].topk(min(_CANDIDATES, len(centroids)), dim=1, largest=False).indices
            exact = squares[chosen] / 2 - torch.einsum("rd,rcd->rc", block[rows], centroids[chosen])
            nearest[rows] = chosen.gather(1, exact.argmin(dim=1, keepdim=True)).squeeze(1)
        return nearest


def _has_room(device: torch.device, size: int) -> bool:
    """Return whether storing `size` bytes leaves at least as many free for the work."""
    return device.type == "cuda" and 2 * size < torch.cuda.mem_get_info(device)[0]


def _block_rows(k: int, device: torch.device) -> int:
    return min(_GPU_BLOCK, max(1024, _GPU_PRODUCTS // k)) if device.type == "cuda" else BLOCK


def _two_least(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two smallest scores of each row, ascending, and their columns; one, if there is one column."""
    count = min(2, scores.shape[1])
    if scores.device.type != "cuda":
        return scores.topk(count, dim=1, largest=False)
    # Memory passes dominate here, and topk takes many.
    first, column = scores.min(dim=1, keepdim=True)
    if count == 1:
        return first, column
    scores.scatter_(1, column, torch.inf)
    second, other = scores.min(dim=1, keepdim=True)
    scores.scatter_(1, column, first)
    return torch.cat([first, second], dim=1), torch.cat([column, other], dim=1)
