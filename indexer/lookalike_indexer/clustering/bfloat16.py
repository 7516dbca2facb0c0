"""Scores by products of bfloat16, which GPUs compute many times faster than float32."""

from __future__ import annotations

import torch
from torch import Tensor

# Extra dimensions for the addends of the scores; tensor cores prefer lengths that are multiples of 8.
_ADDENDS = 8
# Unit round-off of bfloat16, whose significand has 8 bits.
_ROUND_OFF = 2.0**-9
# The factors' errors average out over the dimensions: they stay far below the rounding of one result.
_ROUNDINGS = 1.5


def supported(device: torch.device) -> bool:
    """Return whether a GPU has cores for bfloat16."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


class Bfloat16Scores:
    """Implementation of `scores.Scores`. Sends the vectors to the device in blocks if they are not there."""

    def __init__(self, vectors: Tensor, device: torch.device) -> None:
        self._vectors = vectors
        self._device = device

    def set_centroids(self, centroids: Tensor, squares: Tensor) -> None:
        # Another pass over the scores would cost half as much as the product. The addend is therefore part of the
        # product, as further dimensions that are 1 in every vector: three bfloat16 hold the value of a float32.
        factors = centroids.new_zeros((len(centroids), centroids.shape[1] + _ADDENDS), dtype=torch.bfloat16)
        factors[:, :-_ADDENDS] = -centroids
        rest = squares / 2
        for column in range(-_ADDENDS, -_ADDENDS + 3):
            factors[:, column] = rest
            rest = rest - factors[:, column].float()
        self._factors, self._halves = factors, squares / 2

    def between(self, start: int, stop: int) -> Tensor:
        rows = torch.ones((stop - start, self._factors.shape[1]), dtype=torch.bfloat16, device=self._device)
        rows[:, :-_ADDENDS] = self._vectors[start:stop]
        if self._device.type != "cuda":
            return torch.mm(rows, self._factors.T).float()
        # Tensor cores accumulate in float32; keeping that result avoids a second rounding.
        return torch.mm(rows, self._factors.T, out_dtype=torch.float32)

    def gap_error(self, start: int, best: Tensor, candidates: Tensor) -> Tensor:
        return _ROUNDINGS * _ROUND_OFF * (self._halves[candidates] - best).abs().sum(dim=1)
