"""The names of the classes that a model tells apart."""

from __future__ import annotations

from lookalike_indexer.collection.spec import ModelSpec
from lookalike_indexer.models.preset import published


def class_names(spec: ModelSpec) -> list[str]:
    """A name for each class: torchvision's for trained ImageNet heads, "class N" for all others."""
    names: list[str] = published(spec.arch).meta["categories"]
    if spec.weights.pretrained and spec.classes == len(names):
        return names
    return [f"class {number}" for number in range(spec.classes)]
