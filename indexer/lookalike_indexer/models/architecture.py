"""Models by name: torchvision's classification models, timm's as `timm/NAME`, open_clip's as `open_clip/NAME`."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
import torchvision

from lookalike_indexer.errors import UsageError
from lookalike_indexer.models import open_clip_models, timm_models
from lookalike_indexer.models.open_clip_models import is_open_clip
from lookalike_indexer.text import similar_or_listed

# Tensors of torchvision's VisionTransformer: the position embeddings, and the convolution that makes patches.
_POSITIONS = "encoder.pos_embedding"
_PATCHES = "conv_proj.weight"


def checked_architecture(name: str) -> str:
    """Return `name` if torchvision, timm or open_clip has a model of that name; UsageError suggests similar names."""
    if timm_models.is_timm(name):
        return timm_models.checked(name)
    if is_open_clip(name):
        return open_clip_models.checked(name)
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        listed = similar_or_listed(close, "torchvision.models.list_models()")
        raise UsageError(f"torchvision has no classification model {name!r}; {listed}")
    return name


def build(arch: str, classes: int, transform_input: bool, image_size: int | None = None) -> torch.nn.Module:
    """Build a network in eval mode with fresh random weights from torch's default generator.

    `transform_input` is for GoogLeNet and Inception, whose published weights require it; others ignore it. `image_size`
    is the side in pixels of the images of a vision transformer (None: 224); others ignore it.
    """
    if timm_models.is_timm(arch):
        return timm_models.build(arch, classes)
    if is_open_clip(arch):
        return open_clip_models.build(arch)
    builder = torchvision.models.get_model_builder(checked_architecture(arch))
    options: dict[str, Any] = {"weights": None, "num_classes": classes}
    if has_fixed_size(arch) and image_size is not None:
        options["image_size"] = image_size
    if "googlenet" in arch or "inception" in arch:
        # The auxiliary classifiers are used only in training.
        options |= {"aux_logits": False, "init_weights": True, "transform_input": transform_input}
    module: torch.nn.Module = builder(**{name: value for name, value in options.items() if _takes(builder, name)})
    return module.eval()


def is_torchvision(arch: str) -> bool:
    """Return whether a model is one of torchvision's."""
    return not (timm_models.is_timm(arch) or is_open_clip(arch))


def never_classifies(arch: str) -> bool:
    """Return whether networks of that name never have a classifier."""
    return is_open_clip(arch)


def ends_with_embedding(arch: str, classes: int) -> bool:
    """Return whether the last node of a network is the usual embedding, because it was built without a classifier."""
    return is_open_clip(arch) or (timm_models.is_timm(arch) and not classes)


def has_fixed_size(arch: str) -> bool:
    """Return whether a network only takes images of the size that it was built for: a vision transformer."""
    return arch.startswith("vit_")


def image_size_of(arch: str, state: Mapping[str, torch.Tensor]) -> int | None:
    """Return the side in pixels of the images that a vision transformer's state dict was trained on.

    The number of position embeddings, minus the one of the class token, is the number of patches of an image. None: the
    network takes any size, or the state dict is not that of a vision transformer.
    """
    positions, patches = state.get(_POSITIONS), state.get(_PATCHES)
    if not has_fixed_size(arch) or positions is None or patches is None or positions.ndim != 3 or patches.ndim != 4:
        return None
    side = math.isqrt(max(0, positions.shape[1] - 1))
    size = side * int(patches.shape[-1])
    return size if size and side * side + 1 == positions.shape[1] else None


def _takes(builder: Any, option: str) -> bool:
    parameters = inspect.signature(builder).parameters
    return option in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def head_weight(module: torch.nn.Module) -> str:
    """Return the name of the classifier's weight: the last parameter of two or more dimensions."""
    return [name for name, value in module.named_parameters() if value.ndim >= 2][-1]
