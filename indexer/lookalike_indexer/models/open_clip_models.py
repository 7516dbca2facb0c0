"""Models of open_clip by name, as `open_clip/NAME`: building, transforms and weights.

open_clip is an extra. It is imported only if a model of it is named.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch

from lookalike_indexer.collection.spec import OPEN_CLIP, TEXT_LAYER, PreprocessingSpec
from lookalike_indexer.errors import UsageError, WeightsError
from lookalike_indexer.models.hub_cache import cached_file, has_hub
from lookalike_indexer.text import similar_or_listed

_INTERPOLATIONS = ("bilinear", "bicubic")
_SHOWN = 8
# The files that open_clip tries in a weights repository without a file name, in order, and the folder of other files.
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_DOWNLOADS = "~/.cache/clip"


class PictureTower(torch.nn.Module):
    """A whole open_clip model as an image network: maps normalized images to embeddings (n, dim).

    Its last node is named TEXT_LAYER: the vectors there are comparable with those of texts. `clip` is the model itself,
    which also encodes texts.
    """

    def __init__(self, clip: torch.nn.Module) -> None:
        super().__init__()
        self.clip = clip
        self.add_module(TEXT_LAYER, torch.nn.Identity())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # open_clip is largely untyped.
        clip: Any = self.clip
        return cast("torch.Tensor", self.get_submodule(TEXT_LAYER)(clip.encode_image(images, normalize=False)))


def is_open_clip(arch: str) -> bool:
    """Return whether a model's name is one of open_clip's, as `open_clip/NAME`."""
    return arch.startswith(OPEN_CLIP)


def checked(arch: str) -> str:
    """Return `arch` if open_clip has a model of that name; UsageError suggests similar names or the installation."""
    library, name = open_clip(arch), name_of(arch)
    names = library.list_models()
    if name not in names:
        close = [OPEN_CLIP + each for each in difflib.get_close_matches(name, names, n=3)]
        raise UsageError(f"open_clip has no model {name!r}; {similar_or_listed(close, 'open_clip.list_models()')}")
    return arch


def name_of(arch: str) -> str:
    """Return open_clip's own name of a model."""
    return arch.removeprefix(OPEN_CLIP)


def build(arch: str) -> PictureTower:
    """Build a model in eval mode with fresh random weights.

    Raise UsageError if a part of it belongs to another library, which is not installed or needs to download a
    configuration.
    """
    name = name_of(checked(arch))
    try:
        with _quiet():
            clip = open_clip(arch).create_model(name, pretrained=None, pretrained_text=False)
    except Exception as error:
        # Text encoders of transformers, and its hub's client, raise their own errors.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"open_clip cannot build {arch} here: {reason}") from error
    return PictureTower(clip).eval()


def preprocessing(arch: str, tag: str = "") -> PreprocessingSpec:
    """Return the transforms of a model's published weights: those of `tag`, or of the first that open_clip lists.

    A model without published weights has the transforms of open_clip's configuration. Raise UsageError for an unknown
    tag, or if the transforms are not a resize and a central square crop.
    """
    library, name = open_clip(arch), name_of(checked(arch))
    config = library.get_model_config(name)
    size = config["vision_cfg"].get("image_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    published = _published(arch, tag) if tag or tags(arch) else {}
    told = {
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "mean": library.OPENAI_DATASET_MEAN,
        "std": library.OPENAI_DATASET_STD,
        **published,
    }
    if height != width or told["resize_mode"] != "shortest" or told["interpolation"] not in _INTERPOLATIONS:
        raise UsageError(
            f"The transforms of {arch} are not supported: input {height} x {width}, resize mode "
            f"{told['resize_mode']}, interpolation {told['interpolation']}; choose a model with a central square crop."
        )
    return PreprocessingSpec(
        resize=height,
        crop=height,
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
        interpolation=told["interpolation"],
        antialias=True,
    )


def tags(arch: str) -> list[str]:
    """Return the names of a model's published weights."""
    return list(open_clip(arch).list_pretrained_tags_by_model(name_of(arch)))


def fitting_tags(arch: str) -> list[str]:
    """Return the names of the published weights that pass `check_tag`: they have the model's activation."""
    wanted = _activation(open_clip(arch).get_model_config(name_of(checked(arch))))
    return [tag for tag in tags(arch) if _activation(_published(arch, tag)) == wanted]


def cached(arch: str, tag: str) -> Path | None:
    """Return the path of published weights in open_clip's cache, None if they are not there. Downloads nothing."""
    published = _published(arch, tag)
    if published.get("hf_hub") and has_hub():
        repository, _, name = published["hf_hub"].rpartition("/")
        return cached_file(repository, [name] if name else _HUB_FILES)
    path = Path(_DOWNLOADS).expanduser() / str(published.get("url") or "").rsplit("/", 1)[-1]
    return path if path.is_file() else None


def check_tag(arch: str, tag: str) -> None:
    """Raise UsageError if there are no published weights of that name, or they were trained with another activation."""
    library, name = open_clip(arch), name_of(checked(arch))
    published = _published(arch, tag)
    config = library.get_model_config(name)
    if _activation(published) != _activation(config):
        other = f"{name}-quickgelu" if published.get("quick_gelu") else name.removesuffix("-quickgelu")
        raise UsageError(
            f"The weights {tag} were trained with another activation than {arch} has; give --model {OPEN_CLIP}{other}."
        )


def downloaded(arch: str, tag: str) -> Path:
    """Return the file of published weights in open_clip's own cache; download it if necessary.

    Raise UsageError as check_tag does. Raise WeightsError if they are not here and cannot be downloaded.
    """
    check_tag(arch, tag)
    library: Any = open_clip(arch)
    try:
        with _quiet():
            return Path(library.download_pretrained(_published(arch, tag)))
    except Exception as error:
        # The hub's client, its transport and the disk raise their own errors.
        raise WeightsError(
            f"The weights {tag} of {arch} are not on this machine and cannot be downloaded ({type(error).__name__}); "
            "give --weights a state dict of the model, or untrained:0."
        ) from error


def converted(module: PictureTower, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a published state dict with the names and shapes of the network's tensors.

    Position embeddings for another image size are not resized.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    clip = module.clip
    found: dict[str, torch.Tensor] = dict(convert_state_dict(clip, dict(state)))
    if "positional_embedding" in found and not hasattr(clip, "positional_embedding"):
        found = convert_to_custom_text_state_dict(found)
    wanted = clip.state_dict()
    for scale in ("logit_scale", "logit_bias"):
        # Used only for training and classifying: scalars, or vectors of length one.
        if scale in found and scale in wanted and found[scale].numel() == 1:
            found[scale] = found[scale].reshape(wanted[scale].shape)
        elif scale in wanted and scale not in found:
            found[scale] = wanted[scale]
    found.pop("text.transformer.embeddings.position_ids", None)
    return {f"clip.{name}": value for name, value in found.items()}


def open_clip(arch: str) -> ModuleType:
    """Return the library. Raise UsageError if it is not installed."""
    try:
        import open_clip as library
    except ImportError as error:
        raise UsageError(f"{arch} needs open_clip; install it with: pip install 'lookalike[clip]'") from error
    found: ModuleType = library
    return found


def _activation(description: Mapping[str, Any]) -> bool:
    """Return whether a model, or its weights, use the faster activation."""
    return bool(description.get("quick_gelu"))


def _published(arch: str, tag: str) -> dict[str, Any]:
    """Return open_clip's description of published weights, "" for the first ones.

    Raise UsageError for unknown weights.
    """
    there = tags(arch)
    if (tag and tag not in there) or not there:
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        named = f"it has: {', '.join(there[:_SHOWN])}{more}" if there else "it has none"
        raise UsageError(f"open_clip has no weights {tag!r} of {arch}; {named}.")
    return dict(open_clip(arch).get_pretrained_cfg(name_of(arch), tag or there[0]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress open_clip's messages: random weights are what the caller requested."""
    root, handler = logging.getLogger(), logging.NullHandler()
    # With a handler, the library's use of the root logger does not configure it.
    root.addHandler(handler)
    root.addFilter(_not_of_open_clip)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(_not_of_open_clip)
        root.removeHandler(handler)


def _not_of_open_clip(record: logging.LogRecord) -> bool:
    return "open_clip" not in record.pathname
