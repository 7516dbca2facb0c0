"""The network of a collection's model, as it was when the collection was made."""

from __future__ import annotations

import torch

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.commands import instead
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import IMPORTED, ModelSpec
from lookalike_indexer.embedding.plan import load_module
from lookalike_indexer.errors import NotBuiltError, WeightsError


def classifying_spec(reader: CollectionReader, model: str) -> ModelSpec:
    """Return the spec of a model with a classifier.

    Raise NotFoundError if the model does not exist, and NotBuiltError if it has no classifier.
    """
    spec = reader.model(model).spec
    if not spec.classifies:
        others = [name for name, entry in reader.manifest.models.items() if entry.spec.classifies]
        raise NotBuiltError(
            f"The weights of the model {model} have no classifier, so that no class can be explained; embed with "
            f"weights that have one{instead('name a model that has one', others)}."
        )
    return spec


def stored_module(reader: CollectionReader, model: str, weights_file: str | None = None) -> torch.nn.Module:
    """Return the network of a model of the collection, in eval mode, on the CPU.

    `weights_file` overrides the location of the weights on this machine. Raise NotFoundError if the model does not
    exist. Raise WeightsError if the weights are not available. Raise MismatchError if they differ from those that the
    collection was made with. Raise DataLossError if its own files were changed.
    """
    entry = reader.model(model)
    if entry.spec.arch == IMPORTED:
        raise WeightsError(
            f"The vectors of {model} were imported, so no network can embed images for them; search with "
            "vectors, keys or ids, or name another space."
        )
    statistics = next((path for path in entry.files if not layout.is_class_names(path)), "")
    if statistics:
        reader.verify(statistics)
        statistics = str(reader.storage.local(statistics))
    return load_module(entry.spec, statistics, weights_file)
