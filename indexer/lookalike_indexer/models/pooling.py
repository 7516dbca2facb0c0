"""Pooling of feature maps to vectors."""

from __future__ import annotations

import math

import torch

from lookalike_indexer.collection.spec import Pooling


def pooled(features: torch.Tensor, pooling: Pooling, channels: int) -> torch.Tensor:
    """Pool a node's output, maps or tokens of n images, over its positions: float32, shape (n, channels).

    `channels` is the channel axis (models/channel_axis.py); all other axes except the first are positions. An output of
    shape n x c is returned unchanged. "top10" is the mean of the highest tenth of a channel's activations, rounded up.
    """
    if features.ndim == 2:
        # A copy: later layers may work in place.
        return features.to(torch.float32, copy=True)
    positions = features.movedim(channels, 1).flatten(2).to(torch.float32)
    if pooling == "avg":
        return positions.mean(2)
    if pooling == "max":
        return positions.amax(2)
    highest = math.ceil(positions.shape[2] / 10)
    return positions.topk(highest, dim=2, sorted=False).values.mean(2)
