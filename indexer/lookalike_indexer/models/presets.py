"""Transforms of torchvision's weights as plain data."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath
from typing import Any

import torchvision

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import UsageError
from lookalike_indexer.models import open_clip_models, timm_models
from lookalike_indexer.models.architecture import is_torchvision


def published(arch: str, name: str = "") -> Any:
    """Return a member of a model's weights enum of torchvision, "" for the default.

    Raise UsageError for unknown weights.
    """
    weights = torchvision.models.get_model_weights(arch)
    if not name:
        return weights.DEFAULT
    if name not in weights.__members__:
        raise UsageError(f"torchvision has no weights {name!r} for {arch}; it has: {', '.join(weights.__members__)}.")
    return weights[name]


def published_name(arch: str, sha256: str) -> str:
    """Return the name of torchvision's weights with this digest, "" if there are none; by the file names."""
    if not is_torchvision(arch):
        return ""
    found = (weights for weights in torchvision.models.get_model_weights(arch) if _digest_of(weights) == sha256[:8])
    return next((str(weights.name) for weights in found), "")


def _digest_of(weights: Any) -> str:
    """Return the beginning of the SHA-256 of published weights, which is the end of their file names."""
    return PurePosixPath(str(weights.url)).stem.rsplit("-", 1)[-1]


def preprocessing(weights: Any) -> PreprocessingSpec:
    """Return the transforms of published weights."""
    preset = weights.transforms()
    return PreprocessingSpec(
        resize=_only(preset.resize_size),
        crop=_only(preset.crop_size),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        antialias=bool(preset.antialias),
    )


def transforms_of(arch: str, name: str) -> PreprocessingSpec:
    """Return the transforms of the published weights `name` of a model, "" for the default ones.

    Raise UsageError for unknown weights, or a name with a timm model, which has its own transforms.
    """
    if is_torchvision(arch):
        return preprocessing(published(arch, name))
    if open_clip_models.is_open_clip(arch):
        return open_clip_models.preprocessing(arch, name)
    if name:
        raise UsageError(f"--preprocess names transforms of torchvision's; {arch} has its own, so leave it out.")
    return timm_models.preprocessing(arch)


def alternatives(arch: str) -> dict[str, PreprocessingSpec]:
    """Return the transforms of all published weights of one of torchvision's models, by their names."""
    return {str(weights.name): preprocessing(weights) for weights in torchvision.models.get_model_weights(arch)}


def fitting(arch: str, name: str, image_size: int | None) -> PreprocessingSpec:
    """Return the transforms of the published weights `name` of a model, for images of `image_size` pixels.

    "" for the name means the default weights or, if those have another size, the first ones that fit. If none fit, they
    are the default ones, resized and cropped to `image_size`. None: any size fits. Raise UsageError if the named
    weights have another size.
    """
    chosen = transforms_of(arch, name)
    if image_size is None or chosen.crop == image_size:
        return chosen
    fits = {known: transforms for known, transforms in alternatives(arch).items() if transforms.crop == image_size}
    if name:
        those = f"name one of {', '.join(fits)}" if fits else "leave --preprocess out"
        raise UsageError(
            f"The weights are for images of {image_size} x {image_size} pixels, and the transforms of {name} give "
            f"{chosen.crop} x {chosen.crop}; {those}."
        )
    return next(iter(fits.values()), dataclasses.replace(chosen, resize=image_size, crop=image_size))


def _only(sizes: list[int]) -> int:
    if len(sizes) != 1:
        raise UsageError(f"Weights whose transforms resize or crop to {sizes} are not supported; choose other weights.")
    return int(sizes[0])
