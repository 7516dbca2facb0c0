"""Choice of a network's image transforms, and a sentence for users if it is only a default."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.models.architecture import is_torchvision
from lookalike_indexer.models.presets import alternatives, fitting, published, published_name, transforms_of
from lookalike_indexer.models.timm_models import is_timm
from lookalike_indexer.models.weights import WeightsRequest


@dataclass(frozen=True)
class Chosen:
    """Transforms, and a sentence for users that names them and the reason; "" if no explanation is needed."""

    spec: PreprocessingSpec
    why: str = ""


def named_transforms(settings: EmbedSettings, request: WeightsRequest) -> PreprocessingSpec:
    """Return the transforms named by the settings, or the default ones. Raise UsageError for an unknown name."""
    return transforms_of(settings.model, _named(settings, request))


def chosen_transforms(
    settings: EmbedSettings,
    request: WeightsRequest,
    draft: Manifest | None,
    digest: str = "",
    image_size: int | None = None,
) -> Chosen:
    """Return the transforms of a network with the requested weights.

    They are, in this order, those that the settings name; those that the collection's model was made with; those of the
    published weights with the `digest` of a weights file; or the default ones. A network that only takes images of
    `image_size` pixels gets such images. Raise UsageError if the named transforms produce another size.
    """
    known = None if settings.preprocess else _known(draft, settings)
    if known is not None and (image_size is None or image_size == known.crop):
        return Chosen(known)
    name = _named(settings, request)
    held = published_name(settings.model, digest) if request.kind == "file" and not name else ""
    spec = fitting(settings.model, name or held, image_size)
    return Chosen(spec, "" if name or request.kind != "file" else _why(settings.model, spec, held))


def _why(arch: str, spec: PreprocessingSpec, held: str) -> str:
    told = f"Images are resized to {spec.resize} pixels and cropped to {spec.crop}"
    if held:
        return f"{told}: the weights file is torchvision's {held} of {arch}, and these are its transforms."
    if not is_torchvision(arch):
        library = "timm" if is_timm(arch) else "open_clip"
        return (
            f"{told}: the weights file does not say how, and these are the transforms of {library}'s weights of {arch}."
        )
    names = alternatives(arch)
    default = str(published(arch).name)
    if names[default] == spec:
        told += (
            f": the weights file does not say how, and these are the transforms of torchvision's {default} of {arch}."
        )
    else:
        told += ", because the network takes images of that size."
    others = {name: each for name, each in names.items() if each != spec and each.crop == spec.crop}
    if not others:
        return told
    options = ", ".join(f"--preprocess {name} for {each.resize}" for name, each in others.items())
    return f"{told} Where it was trained with another resize: {options}."


def _named(settings: EmbedSettings, request: WeightsRequest) -> str:
    if settings.preprocess:
        return settings.preprocess
    published = request.kind == "open_clip" or (request.kind == "imagenet" and is_torchvision(settings.model))
    return request.value if published else ""


def _known(draft: Manifest | None, settings: EmbedSettings) -> PreprocessingSpec | None:
    """Return the transforms that the collection's model was made with."""
    known = draft.models.get(settings.alias) if draft else None
    return known.spec.preprocessing if known else None
