"""Scores by products of 8-bit integers, which CPUs with VNNI compute four times faster than float32.

Each vector and each centroid has its own step. The error of rounding to multiples of a step is uniform within half a
step either way. The error of a product over many dimensions is therefore nearly normal. For embeddings it is as small
as that of a product in bfloat16, whose result is rounded too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike_indexer.processor import CPUINFO, flags

_MOST = 127
# Rows that are rounded at a time: float32 rows of 2048 values are 16 MiB.
_ROWS = 2048
# A gap between two scores of more standard deviations than this needs no second comparison.
_DEVIATIONS = 4.0


def supported() -> bool:
    """Return whether torch and this CPU multiply 8-bit integers fast."""
    return hasattr(torch, "_int_mm") and bool(flags(CPUINFO) & {"avx512_vnni", "avx_vnni", "amx_int8"})


class Int8Scores:
    """Implementation of `scores.Scores`. Holds a copy of the vectors at a quarter of their size."""

    def __init__(self, vectors: Tensor) -> None:
        self._codes = torch.empty(vectors.shape, dtype=torch.int8)
        self._steps = torch.empty((len(vectors), 1))
        self._squares = torch.empty((len(vectors), 1))
        for start in range(0, len(vectors), _ROWS):
            some = slice(start, start + _ROWS)
            self._codes[some], self._steps[some] = _rounded(vectors[some])
            self._squares[some] = vectors[some].square().sum(dim=1, keepdim=True)

    def set_centroids(self, centroids: Tensor, squares: Tensor) -> None:
        codes, steps = _rounded(centroids)
        self._factors, self._scales, self._halves = codes.T, -steps.T, squares / 2
        # The variance of a product due to the rounding of the centroid and of the vector.
        theirs = steps.square().squeeze(1) / 12
        self._theirs, self._ours = theirs, (squares + centroids.shape[1] * theirs) / 12

    def between(self, start: int, stop: int) -> Tensor:
        products = torch._int_mm(self._codes[start:stop], self._factors)
        return torch.addcmul(self._halves, products * self._steps[start:stop], self._scales)

    def gap_error(self, start: int, best: Tensor, candidates: Tensor) -> Tensor:
        stop = start + len(best)
        variances = self._squares[start:stop] * self._theirs[candidates]
        variances += self._steps[start:stop].square() * self._ours[candidates]
        return _DEVIATIONS * variances.sum(dim=1).sqrt()


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows (n, dim) as int8 multiples of a step for each row, float32 (n, 1)."""
    steps = rows.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny) / _MOST
    return (rows / steps).round_().to(torch.int8), steps
