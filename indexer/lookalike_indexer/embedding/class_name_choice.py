"""Which class names a run gives a model: those that it is told, those that the collection has, or the default ones."""

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


def names_given(settings: EmbedSettings, spec: ModelSpec) -> list[str] | None:
    """The class names that the settings or the weights tell; None where they tell none.

    A file whose digest is that of torchvision's weights has ImageNet's classes.
    UsageError: another number of names than the model has classes.
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
    """The names of a model's classes, and the file of the collection that has them, if they are not the default."""
    default = class_names(spec)
    known = names_path(draft.models[alias]) if draft and alias in draft.models else ""
    if given is None and known:
        return read_stored_names(storage, known), [known]
    names = given or default
    return names, [store_names(storage, alias, names)] if names != default else []
