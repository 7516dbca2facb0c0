"""A model of a collection with its weights, for predictions on an image and their attribution."""

from __future__ import annotations

import functools

import torch

from lookalike_indexer.attribution.attributor import Attributor
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.stored_network import classifying_spec, stored_module
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.experiments.subject import Picture
from lookalike_indexer.images.prepare import Prepared, prepare
from lookalike_indexer.images.preprocessing import Pixels
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace


class OpenedModel:
    """A model, loaded once for any number of images."""

    def __init__(self, reader: CollectionReader, model: str, weights_file: str | None = None) -> None:
        """Load the network of a model of the collection; `weights_file` overrides the location of its weights.

        Raise WeightsError if they are not available. Raise MismatchError if they differ from those that the collection
        was made with. Raise NotBuiltError if they have no classifier.
        """
        self._reader, self._model = reader, model
        self._spec = classifying_spec(reader, model)
        self._module: torch.nn.Module = stored_module(reader, model, weights_file)
        self._networks: dict[str, Network] = {}

    @functools.cached_property
    def attributor(self) -> Attributor:
        """The attributor of the network."""
        return Attributor(trace(self._module), self._model, self._spec.preprocessing, self._spec.classes)

    def pixels(self, image: str | bytes) -> Pixels:
        """Return an image by its URI or its encoded bytes, in the form that the network takes: uint8 (3, crop, crop).

        Raise DecodeError if it cannot be read.
        """
        prepared = prepare(image, self._spec.preprocessing, self._reader.manifest.limits)
        if not isinstance(prepared, Prepared):
            raise DecodeError(prepared.reason, kind=prepared.kind)
        return prepared.pixels

    def embed(self, name: str, pixels: Pixels, space: str) -> Picture:
        """Return the embedding of an image in a space of this model, and its most probable classes."""
        if space not in self._networks:
            entry = self._reader.space(space)[1]
            node = Node(entry.layer, entry.pooling)
            self._networks[space] = Network(trace(self._module), [node], self._spec.preprocessing, "cpu", "float32")
        result = self._networks[space].embed([pixels])
        return Picture(name, result.embeddings[0], result.classes[0], result.probabilities[0])
