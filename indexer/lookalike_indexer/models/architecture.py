"""torchvision's classification models by name."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import torch
import torchvision

from lookalike_indexer.errors import UsageError


def checked_architecture(name: str) -> str:
    """`name` itself when torchvision has a classification model of that name; UsageError names close ones."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3) or ["resnet152", "resnet50", "vit_b_16"]
        raise UsageError(f"torchvision has no classification model {name!r}; did you mean {', '.join(close)}?")
    return name


def build(arch: str, classes: int, transform_input: bool) -> torch.nn.Module:
    """A network in eval mode with fresh random weights from torch's default generator.

    `transform_input` is for GoogLeNet and Inception, whose published weights
    expect it; others ignore it.
    """
    builder = torchvision.models.get_model_builder(checked_architecture(arch))
    options: dict[str, Any] = {"weights": None, "num_classes": classes}
    if "googlenet" in arch or "inception" in arch:
        # The auxiliary classifiers serve training only.
        options |= {"aux_logits": False, "init_weights": True, "transform_input": transform_input}
    module: torch.nn.Module = builder(**{name: value for name, value in options.items() if _takes(builder, name)})
    return module.eval()


def _takes(builder: Any, option: str) -> bool:
    parameters = inspect.signature(builder).parameters
    return option in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def head_weight(module: torch.nn.Module) -> str:
    """The name of the classifier's weight: the last parameter of two or more dimensions."""
    return [name for name, value in module.named_parameters() if value.ndim >= 2][-1]
