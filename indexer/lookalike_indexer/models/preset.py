"""The transforms that torchvision's weights carry, as plain data."""

from __future__ import annotations

from typing import Any

import torchvision

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import UsageError


def published(arch: str, name: str = "") -> Any:
    """An entry of torchvision's weights enum of a model, the default one for ""; UsageError names those there are."""
    weights = torchvision.models.get_model_weights(arch)
    if not name:
        return weights.DEFAULT
    if name not in weights.__members__:
        raise UsageError(f"torchvision has no weights {name!r} for {arch}; it has: {', '.join(weights.__members__)}.")
    return weights[name]


def preprocessing(weights: Any) -> PreprocessingSpec:
    """The transforms of published weights."""
    preset = weights.transforms()
    return PreprocessingSpec(
        resize=_only(preset.resize_size),
        crop=_only(preset.crop_size),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        antialias=bool(preset.antialias),
    )


def _only(sizes: list[int]) -> int:
    if len(sizes) != 1:
        raise UsageError(f"Weights whose transforms resize or crop to {sizes} are not supported; choose other weights.")
    return int(sizes[0])
