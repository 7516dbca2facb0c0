"""Names of the classes that a model distinguishes."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib import resources
from typing import Literal

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import ModelEntry
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import ModelSpec, digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError

# Weights with published class names; a weights file may hold any network of 1,000 classes.
_PUBLISHED = ("imagenet", "package")


def class_names(spec: ModelSpec) -> list[str]:
    """Return a name for each class: ImageNet's for published weights of 1,000 classes, "class N" for all others."""
    return known_names(spec) or numbered_names(spec.classes)


def numbered_names(classes: int) -> list[str]:
    """Return the names of classes that are known only by their numbers."""
    return [f"class {number}" for number in range(classes)]


def known_names(spec: ModelSpec) -> list[str] | None:
    """Return the class names that follow from the weights themselves, None if unknown."""
    is_imagenet = spec.weights.kind in _PUBLISHED and spec.classes == len(imagenet_names())
    return list(imagenet_names()) if is_imagenet else None


def kind_of(names: Sequence[str]) -> Literal["", "imagenet", "own", "numbers"]:
    """Return the kind of a model's class names; "" without any."""
    if not names:
        return ""
    if tuple(names) == imagenet_names():
        return "imagenet"
    return "numbers" if list(names) == numbered_names(len(names)) else "own"


def names_path(entry: ModelEntry) -> str:
    """Return the path of a model's own class names in the collection, "" if it has none."""
    return next((path for path in entry.files if layout.is_class_names(path)), "")


def stored_names(reader: CollectionReader, model: str) -> list[str] | None:
    """Return the class names stored with a model, None if there are none. Raise DataLossError if they were changed."""
    path = names_path(reader.model(model))
    if not path:
        return None
    reader.verify(path)
    return read_stored_names(reader.storage, path)


def known_class_names(reader: CollectionReader, model: str) -> list[str] | None:
    """Return the class names known from the collection or from published weights, None if unknown.

    Collections of earlier releases gave any 1,000 classes ImageNet's names; these names stay.
    """
    entry = reader.model(model)
    return stored_names(reader, model) or known_names(entry.spec) or _called_before(reader, entry)


def _called_before(reader: CollectionReader, entry: ModelEntry) -> list[str] | None:
    names = imagenet_names()
    if entry.spec.classes != len(names) or not entry.predictions:
        return None
    table = read_part(reader.storage, entry.predictions[0], ["class_index", "class_name"]).slice(0, 1)
    if not table.num_rows:
        return None
    pairs = zip(table.column("class_index")[0].as_py(), table.column("class_name")[0].as_py(), strict=True)
    return list(names) if all(names[index] == name for index, name in pairs) else None


def read_stored_names(storage: Storage, path: str) -> list[str]:
    """Return the class names in a file of a collection."""
    try:
        names: list[str] = json.loads(storage.read(path))
    except (ValueError, UnicodeDecodeError) as error:
        raise DataLossError(f"{storage.shown(path)} is not what was written: {error}.") from error
    return names


def store_names(storage: Storage, model: str, names: Sequence[str]) -> str:
    """Store a model's class names unless they are stored already; return the path of the file."""
    path = layout.class_names(model, digest_of(list(names)))
    if not storage.exists(path):
        with storage.staged(path) as temporary:
            temporary.write_text(json.dumps(list(names), ensure_ascii=False, indent=0) + "\n", "utf-8")
    return path


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """Return the 1,000 categories of torchvision's ImageNet classifiers, by index, read from a copy.

    Importing torchvision, which imports torch, takes seconds and 800 MiB, which counting hits does not need otherwise.
    A test compares the copy with the original.
    """
    lines = (resources.files("lookalike_indexer.embedding") / "imagenet_classes.txt").read_text("utf-8")
    return tuple(lines.splitlines())
