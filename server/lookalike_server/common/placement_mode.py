"""Placement of indexes, and the policy for a lost device."""

from __future__ import annotations

from typing import Literal, get_args

PlacementMode = Literal["cpu", "gpu", "shard", "replicate"]
PLACEMENTS: tuple[PlacementMode, ...] = get_args(PlacementMode)

# "fail": the server exits, so that its supervisor restarts it. "retry": the index is placed there again until it stays.
# "cpu": the processor searches it from then on.
OnLoss = Literal["fail", "retry", "cpu"]
ON_LOSS: tuple[OnLoss, ...] = get_args(OnLoss)
