"""Choice of a model's class names: those given to the run, those of the collection, or the default ones."""

from __future__ import annotations

from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import ModelSpec
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.class_names_file import check_count, read_class_names
from lookalike_indexer.embedding.classes import (
    class_names,
    imagenet_names,
    names_path,
    read_stored_names,
    store_names,
)
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.models.presets import published_name


def explicit_names(settings: EmbedSettings, spec: ModelSpec) -> list[str] | None:
    """Return the class names given by the settings or the weights, None if neither gives any.

    A file with the digest of torchvision's weights has ImageNet's classes. Raise UsageError if the number of names
    differs from the model's number of classes.
    """
    if settings.class_names:
        names = read_class_names(settings.class_names)
        check_count(names, spec.classes, settings.alias)
        return names
    is_published = spec.weights.kind == "file" and published_name(spec.arch, spec.weights.digest)
    return list(imagenet_names()) if is_published and spec.classes == len(imagenet_names()) else None


def settled_names(
    storage: Storage, draft: Manifest | None, alias: str, spec: ModelSpec, given: list[str] | None
) -> tuple[list[str], list[str]]:
    """Return the names of a model's classes, and the collection's file of them unless they are the default."""
    default = class_names(spec)
    known = names_path(draft.models[alias]) if draft and alias in draft.models else ""
    if given is None and known:
        return read_stored_names(storage, known), [known]
    names = given or default
    return names, [store_names(storage, alias, names)] if names != default else []
