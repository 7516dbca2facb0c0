"""The arithmetic half of a network's transforms: 8-bit pixels to what its first layer takes."""

from __future__ import annotations

import torch

from lookalike_indexer.collection.spec import PreprocessingSpec


class Normaliser:
    """Scale to 0..1 and normalize on a device, in the order and precision of torchvision's transforms."""

    def __init__(self, spec: PreprocessingSpec, device: torch.device) -> None:
        self._mean = torch.tensor(spec.mean, device=device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(spec.std, device=device).reshape(1, 3, 1, 1)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 of shape (n, 3, h, w) to float32 of the same shape, channels last."""
        images = pixels.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)
        return images.contiguous(memory_format=torch.channels_last)
