"""Grad-CAM and guided backpropagation of an image, as float maps over it."""

from __future__ import annotations

import threading
import warnings
from typing import Literal

import numpy as np
import torch
from captum.attr import GuidedBackprop, LayerAttribution, LayerGradCam

from lookalike_indexer.arrays import Float32
from lookalike_indexer.attribution.graph import gradient_graph
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.embedding.stored_network import classifying_spec, stored_module
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.images.preprocessing import Pixels
from lookalike_indexer.models.nodes import TracedNetwork, trace
from lookalike_indexer.models.normalize import Normalizer

Method = Literal["cam", "gbp"]
METHODS: tuple[Method, ...] = ("cam", "gbp")


class Attributor:
    """A network prepared for attribution of its classes. Thread-safe; calls are serialized."""

    def __init__(self, traced: TracedNetwork, model: str, preprocessing: PreprocessingSpec, classes: int) -> None:
        """Prepare the network. `model` is its name in messages."""
        self.model, self.preprocessing, self.classes = model, preprocessing, classes
        self._graph = gradient_graph(traced, preprocessing.crop)
        self._normalize = Normalizer(preprocessing, torch.device("cpu"))
        # captum's hooks are part of the network during a call.
        self._one_at_a_time = threading.Lock()

    @classmethod
    def open(cls, reader: CollectionReader, model: str, weights_file: str | None = None) -> Attributor:
        """Load the network of a model of the collection.

        `weights_file` overrides the location of its weights on this machine. Raise WeightsError if they are not
        available. Raise MismatchError if they differ from those that the collection was made with. Raise NotBuiltError
        if they have no classifier.
        """
        spec = classifying_spec(reader, model)
        module = stored_module(reader, model, weights_file)
        return cls(trace(module), model, spec.preprocessing, spec.classes)

    def attribution(self, pixels: Pixels, class_index: int, method: Method) -> Float32:
        """Return the contribution of each pixel to a class: float32 (crop, crop), from 0 to 1 at the maximum.

        `pixels` is a prepared image, uint8 of shape (3, crop, crop). "cam" is Grad-CAM (Selvaraju et al. 2017,
        arXiv:1610.02391) on the last feature maps, interpolated; "gbp" is guided backpropagation (Springenberg et al.
        2014, arXiv:1412.6806), the greatest magnitude of the three colors. All 0 if nothing contributes to the class.
        Raise UsageError if the class does not exist. Raise NotBuiltError if the network lacks what the method needs.
        """
        if not 0 <= class_index < self.classes:
            raise UsageError(f"The model {self.model} has the classes 0 to {self.classes - 1}, not {class_index}.")
        image = self._normalize(torch.from_numpy(np.ascontiguousarray(pixels))[None])
        with self._one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum warns about each hook that it sets
            found = self._cam(image, class_index) if method == "cam" else self._gbp(image, class_index)
        strongest = float(found.max())
        return found / strongest if strongest > 0 else found

    def _cam(self, image: torch.Tensor, class_index: int) -> Float32:
        if self._graph.maps is None:
            raise NotBuiltError(
                f"The model {self.model} has no feature maps before its classifier, which Grad-CAM needs; "
                "explain the image with a convolutional model of the collection."
            )
        maps = LayerGradCam(self._graph.module, self._graph.maps).attribute(
            image, target=class_index, relu_attributions=True
        )
        full = LayerAttribution.interpolate(maps, tuple(image.shape[2:]), interpolate_mode="bilinear")
        found: Float32 = full[0, 0].detach().numpy().astype(np.float32)
        return found

    def _gbp(self, image: torch.Tensor, class_index: int) -> Float32:
        if not self._graph.relus:
            raise NotBuiltError(
                f"The model {self.model} has no ReLU, which guided backpropagation needs; "
                "explain the image with a model that has one, such as a ResNet."
            )
        gradients = GuidedBackprop(self._graph.module).attribute(image, target=class_index)
        found: Float32 = gradients[0].abs().amax(0).detach().numpy().astype(np.float32)
        return found
