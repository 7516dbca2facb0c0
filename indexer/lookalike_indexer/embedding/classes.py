"""The names of the classes that a model tells apart."""

from __future__ import annotations

import functools
from importlib import resources

from lookalike_indexer.collection.spec import ModelSpec


def class_names(spec: ModelSpec) -> list[str]:
    """A name for each class: torchvision's for trained ImageNet heads, "class N" for all others."""
    if spec.weights.pretrained and spec.classes == len(imagenet_names()):
        return list(imagenet_names())
    return [f"class {number}" for number in range(spec.classes)]


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """The 1,000 categories of every ImageNet classifier of torchvision, by index, read from a copy.

    Importing torchvision, which imports torch, takes seconds and 800 MiB that
    counting hits needs for nothing else; a test compares the two.
    """
    lines = (resources.files("lookalike_indexer.embedding") / "imagenet_classes.txt").read_text("utf-8")
    return tuple(lines.splitlines())
