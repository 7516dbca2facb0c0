"""Where a user wants indexes to live, and what is to happen when a device is lost."""

from __future__ import annotations

from typing import Literal, get_args

PlacementMode = Literal["cpu", "gpu", "shard", "replicate"]
PLACEMENTS: tuple[PlacementMode, ...] = get_args(PlacementMode)

# "fail": the server ends, so that whoever watches it starts another; "retry": the index is put there again until it
# stays; "cpu": it is searched on the processor from then on.
OnLoss = Literal["fail", "retry", "cpu"]
ON_LOSS: tuple[OnLoss, ...] = get_args(OnLoss)
