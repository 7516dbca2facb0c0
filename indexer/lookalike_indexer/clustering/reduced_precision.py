"""Iteration of Lloyd's algorithm with a matrix product of reduced precision, for devices that compute those faster.

The product only proposes candidates: if the gap between the two best centroids is within its rounding error, they are
compared again in float32. CPUs use `int8.py`, GPUs `bfloat16.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lookalike_indexer.arrays import Float32
from lookalike_indexer.clustering import bfloat16, int8
from lookalike_indexer.clustering.bfloat16 import Bfloat16Scores
from lookalike_indexer.clustering.centroid_sums import FullSums, IncrementalSums
from lookalike_indexer.clustering.int8 import Int8Scores
from lookalike_indexer.clustering.scores import Scores

# Rows of one product on a CPU: their products with 256 centroids are 4 MiB.
_BLOCK = 4096
# On a GPU a block should take longer than its launch: up to 2^28 products, 1 GiB in float32.
_GPU_PRODUCTS, _GPU_BLOCK = 1 << 28, 1 << 16
# The number of multiplications from which the product is worth its overhead, and the different rounding of its result.
_WORTH = 1 << 30
_CANDIDATES = 4


def worthwhile(rows: int, k: int, dim: int, gpus: Sequence[int] = ()) -> bool:
    """Return whether these GPUs, or this CPU, run an iteration of this size faster in reduced precision."""
    if rows * k * dim < _WORTH:
        return False
    if gpus:
        return all(bfloat16.supported(torch.device("cuda", number)) for number in gpus)
    return int8.supported()


class ReducedStep:
    """Iterations over the same vectors (n, dim), float32; each of the devices, by torch's names, takes a share."""

    def __init__(self, vectors: Float32, spherical: bool, devices: Sequence[str] = ("cpu",)) -> None:
        self._spherical = spherical
        rows = torch.from_numpy(vectors)
        cuts = [len(rows) * number // len(devices) for number in range(len(devices) + 1)]
        self._shares = [
            _Share(rows[start:stop], torch.device(device))
            for device, (start, stop) in zip(devices, itertools.pairwise(cuts), strict=True)
        ]
        self._squares = sum(share.squares() for share in self._shares)

    def __call__(self, centroids: Float32) -> tuple[Float32, float]:
        """Return the centroids after one update, and the inertia before it."""
        # The first device does everything except the other devices' shares.
        old = torch.from_numpy(centroids).to(self._shares[0].device)
        squares = old.double().square().sum(dim=1)
        sums, sizes = self._summed(old, squares.float())
        # The sum over clusters of |x|^2 - 2 xc + |c|^2, without reading any vector again.
        inertia = self._squares - 2 * float((sums.double() * old.double()).sum()) + float(sizes.double() @ squares)
        return self._updated(old, sums, sizes).cpu().numpy(), max(inertia, 0.0)

    def _summed(self, centroids: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum (k, dim) and number (k,) of each centroid's vectors, always accumulated in the same order."""
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
            length = new.norm(dim=1, keepdim=True)
            new = torch.where(length > 0, new / length.clamp(min=torch.finfo(new.dtype).tiny), old)
        return new


class _Share:
    """The vectors of one device, stored on it if they leave enough room, and otherwise sent in blocks."""

    def __init__(self, vectors: Tensor, device: torch.device) -> None:
        self.device = device
        self._vectors = vectors.to(device) if _has_room(device, vectors.nbytes) else vectors
        self._scores: Scores = (
            Bfloat16Scores(self._vectors, device) if device.type == "cuda" else Int8Scores(self._vectors)
        )
        self._sums = FullSums() if device.type == "cuda" else IncrementalSums(len(vectors))

    def squares(self) -> float:
        """Return the sum of all squared norms."""
        blocks = torch.split(self._vectors, _BLOCK)
        return sum((float(block.norm(dim=1).double().square().sum()) for block in blocks), 0.0)

    def summed(self, centroids: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum (k, dim) and number (k,) of the vectors nearest to each centroid, on the device."""
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
    return min(_GPU_BLOCK, max(1024, _GPU_PRODUCTS // k)) if device.type == "cuda" else _BLOCK


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
