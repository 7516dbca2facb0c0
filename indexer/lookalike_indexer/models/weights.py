"""The option --weights: published weights, those of a package, a file, or none."""

from __future__ import annotations

import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lookalike_indexer.collection.spec import WeightsSpec
from lookalike_indexer.errors import UsageError, WeightsError
from lookalike_indexer.models import open_clip_models, timm_models
from lookalike_indexer.models.architecture import is_torchvision
from lookalike_indexer.models.availability import weights_path
from lookalike_indexer.models.presets import published as published_weights
from lookalike_indexer.models.statefile import digest, fitted, read_state
from lookalike_indexer.models.untrained import state_digest


@dataclass(frozen=True)
class WeightsRequest:
    """A parsed `--weights`: a name of published weights ("" for the default), of a package, a path or a seed.

    Names of published weights are torchvision's or timm's, or with the kind "open_clip" those of open_clip.
    """

    kind: Literal["imagenet", "package", "file", "open_clip", "untrained"]
    value: str


def parse_weights(text: str) -> WeightsRequest:
    """Parse "imagenet[:NAME]", "open_clip:TAG", "package", "untrained[:SEED]" or a path.

    Raise UsageError if the seed is not a number.
    """
    kind, _, value = text.partition(":")
    if kind == "imagenet":
        return WeightsRequest("imagenet", value)
    if kind == "open_clip":
        return WeightsRequest("open_clip", value)
    if text in ("package", f"package:{timm_models.PACKAGE}"):
        return WeightsRequest("package", timm_models.PACKAGE)
    if kind == "untrained":
        seed = value or "0"
        if not seed.isdecimal() or int(seed) >= 1 << 63:
            raise UsageError(f"--weights {text}: the seed must be a whole number from 0 up, as in untrained:0.")
        return WeightsRequest("untrained", str(int(seed)))
    if not text:
        raise UsageError("--weights is empty; give imagenet, package, untrained:SEED or a file.")
    return WeightsRequest("file", str(Path(text).expanduser().absolute()))


def load_pretrained(arch: str, request: WeightsRequest) -> tuple[torch.nn.Module, int, WeightsSpec]:
    """Return the network with pretrained weights, its number of classes, and the spec of the weights.

    Raise WeightsError if they are not available, damaged, or of another network.
    """
    check_published(arch, request)
    if request.kind == "package":
        path = timm_models.package_file(arch)
        sha256 = digest(path)
        _check_published(path, sha256)
        return *timm_models.fitted_in_order(arch, path), WeightsSpec("package", request.value, sha256)
    if request.kind == "imagenet" and timm_models.is_timm(arch):
        module, classes, tag = timm_models.pretrained(arch, request.value)
        return module, classes, WeightsSpec("imagenet", tag, state_digest(module))
    if request.kind == "file":
        path = check_file(arch, request)
        name = str(path)
    elif request.kind == "open_clip":
        path, name = open_clip_models.downloaded(arch, request.value), request.value
    else:
        weights = published_weights(arch, request.value)
        path, name = _cached(arch, weights), weights.name
    sha256 = digest(path)
    if request.kind == "imagenet":
        _check_published(path, sha256)
    module, classes = fitted(arch, read_state(path), f"The weights file {path}")
    return module, classes, WeightsSpec(request.kind, name, sha256)


def check_published(arch: str, request: WeightsRequest) -> None:
    """Raise UsageError if published weights are requested that the model's library does not have."""
    if open_clip_models.is_open_clip(arch) and request.kind in ("imagenet", "package"):
        tags = open_clip_models.fitting_tags(arch)
        published = f"open_clip:{tags[0]}, " if tags else ""
        raise UsageError(f"{arch} has no ImageNet weights; give --weights {published}a state dict, or untrained:0.")
    if request.kind == "open_clip":
        if not open_clip_models.is_open_clip(arch):
            raise UsageError(f"--weights open_clip:{request.value} are weights of open_clip's models, not of {arch}.")
        open_clip_models.check_tag(arch, request.value)
    if request.kind == "imagenet" and is_torchvision(arch):
        published_weights(arch, request.value)


def check_file(arch: str, request: WeightsRequest) -> Path:
    """Return the path of a request for a file. Raise WeightsError if the file does not exist."""
    path = Path(request.value)
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {path}; give --weights a state dict of {arch}, imagenet or untrained:0."
        )
    return path


def _cached(arch: str, weights: torch.nn.Module) -> Path:
    """Return the file of published weights; download it if necessary."""
    path = weights_path(arch, str(weights.name))
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(str(weights.url), str(path), path.stem.rsplit("-", 1)[-1], progress=False)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            reason = getattr(error, "reason", None) or error
            raise WeightsError(
                f"The imagenet weights of {arch} are not on this machine and cannot be downloaded ({reason}); "
                f"download {path.name} from torchvision to {path}, or give --weights a file, or untrained:0, "
                "or --model timm/tf_efficientnet_lite0 --weights package."
            ) from error
    return path


def _check_published(path: Path, sha256: str) -> None:
    """Check a published file, whose name ends with the beginning of its digest."""
    expected = path.stem.rsplit("-", 1)[-1]
    if not sha256.startswith(expected):
        raise WeightsError(
            f"{path} is damaged or another file: its SHA-256 begins with {sha256[:8]}, not with {expected}; "
            "delete it and get it again, a file of a package by installing that package again."
        )
