"""Feature maps to vectors."""

from __future__ import annotations

import math

import torch

from lookalike_indexer.collection.spec import Pooling
from lookalike_indexer.errors import UsageError


def pooled(features: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool a node's output over its positions: float32, shape (n, channels).

    n x c x h x w maps are pooled over their h * w positions, n x t x c tokens
    over the t tokens; n x c is taken as it is. "top10" is the mean of the
    highest tenth of a channel's activations, rounded up.
    """
    shape = tuple(features.shape) if isinstance(features, torch.Tensor) else ()
    if len(shape) == 2:
        # A copy: layers after this one may work in place.
        return features.to(torch.float32, copy=True)
    if len(shape) == 4:
        positions = features.flatten(2)
    elif len(shape) == 3:
        positions = features.transpose(1, 2)
    else:
        raise UsageError(f"An output of shape {shape} cannot be pooled to a vector; choose another layer.")
    positions = positions.to(torch.float32)
    if pooling == "avg":
        return positions.mean(2)
    if pooling == "max":
        return positions.amax(2)
    highest = math.ceil(positions.shape[2] / 10)
    return positions.topk(highest, dim=2, sorted=False).values.mean(2)
