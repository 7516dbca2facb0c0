"""Arithmetic half of a network's transforms: from 8-bit pixels to the input of its first layer."""

from __future__ import annotations

import torch

from lookalike_indexer.collection.spec import PreprocessingSpec


class Normalizer:
    """Scales to 0..1 and normalizes on a device, in the order and precision of torchvision's transforms."""

    def __init__(self, spec: PreprocessingSpec, device: torch.device) -> None:
        self._mean = torch.tensor(spec.mean, device=device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(spec.std, device=device).reshape(1, 3, 1, 1)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Convert uint8 of shape (n, 3, h, w) to float32 of the same shape, channels last."""
        images = pixels.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)
        return images.contiguous(memory_format=torch.channels_last)
