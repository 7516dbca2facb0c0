"""The transforms that torchvision's weights carry, as plain data."""

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
    """An entry of torchvision's weights enum of a model, the default one for ""; UsageError names those there are."""
    weights = torchvision.models.get_model_weights(arch)
    if not name:
        return weights.DEFAULT
    if name not in weights.__members__:
        raise UsageError(f"torchvision has no weights {name!r} for {arch}; it has: {', '.join(weights.__members__)}.")
    return weights[name]


def published_name(arch: str, sha256: str) -> str:
    """The name of torchvision's weights of a model that have a digest, "" where none have; by the names of files."""
    if not is_torchvision(arch):
        return ""
    found = (weights for weights in torchvision.models.get_model_weights(arch) if _digest_of(weights) == sha256[:8])
    return next((str(weights.name) for weights in found), "")


def _digest_of(weights: Any) -> str:
    """The beginning of the SHA-256 of published weights, which the names of their files end with."""
    return PurePosixPath(str(weights.url)).stem.rsplit("-", 1)[-1]


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


def transforms_of(arch: str, name: str) -> PreprocessingSpec:
    """The transforms of the published weights `name` of a model, the default ones for "".

    UsageError: no such weights, or a name of them for a model of timm, which has transforms of its own.
    """
    if is_torchvision(arch):
        return preprocessing(published(arch, name))
    if open_clip_models.is_open_clip(arch):
        return open_clip_models.preprocessing(arch, name)
    if name:
        raise UsageError(f"--preprocess names transforms of torchvision's; {arch} has its own, so leave it out.")
    return timm_models.preprocessing(arch)


def alternatives(arch: str) -> dict[str, PreprocessingSpec]:
    """The transforms of all published weights of one of torchvision's models, by their names."""
    return {str(weights.name): preprocessing(weights) for weights in torchvision.models.get_model_weights(arch)}


def fitting(arch: str, name: str, image_size: int | None) -> PreprocessingSpec:
    """The transforms of the published weights `name` of a model, that give images of `image_size` pixels.

    "" for the name means the default weights or, where those give images of
    another size, the first ones that fit. Where none fit, they are the default
    ones, resized and cropped to `image_size` itself. None: any size fits.
    UsageError: the weights that are named give images of another size.
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
