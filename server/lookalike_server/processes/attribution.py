"""Attribution images of stored images, drawn in the process that runs experiments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lookalike.v1 import experiment_pb2
from lookalike_indexer.attribution.attributor import Attributor, Method
from lookalike_indexer.charts.overlay import overlay_png
from lookalike_indexer.embedding.stored_network import classifying_spec
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.experiments.view import View
from lookalike_indexer.images.prepare import Prepared, prepare


class Attributions:
    """Attribution with a cached network: the last used one, which another model's replaces."""

    def __init__(self, weights: str | None, threads: int) -> None:
        """`weights` is a file that replaces the manifest's, if it belongs to the model."""
        self._weights = weights
        self._held: tuple[Any, Attributor] | None = None
        torch.set_num_threads(threads)

    def attribution(
        self, view: View, row: int, model: str, method: Method, class_index: int | None = None
    ) -> experiment_pb2.GetAttributionResponse:
        """Return the attribution of an image's class, by default the most probable one, without `served`.

        Raises NotFoundError if the model does not exist or the image's file is gone, and UsageError
        if the class does not exist. Raises NotBuiltError if the weights have no classifier, and
        WeightsError if the model's weights are missing.
        """
        spec = classifying_spec(view.reader, model)
        chosen, probability = _class(view, row, model, class_index)
        names = view.class_names(model)
        if not 0 <= chosen < len(names):
            raise UsageError(f"The model {model} has the classes 0 to {len(names) - 1}, not {chosen}.")
        image = prepare(view.uris(np.array([row]))[0], spec.preprocessing, view.reader.manifest.limits)
        if not isinstance(image, Prepared):
            raise NotFoundError(f"The image {view.keys(np.array([row]))[0]} can no longer be read: {image.reason}.")
        found = self._attributor(view, model).attribution(image.pixels, chosen, method)
        return experiment_pb2.GetAttributionResponse(
            png=overlay_png(image.pixels, found, method),
            class_index=chosen,
            class_name=names[chosen],
            probability=probability,
        )

    def _attributor(self, view: View, model: str) -> Attributor:
        spec = view.reader.model(model).spec
        if self._held is None or self._held[0] != spec:
            self._held = None
            self._held = (spec, Attributor.open(view.reader, model, self._weights))
        return self._held[1]


def _class(view: View, row: int, model: str, class_index: int | None) -> tuple[int, float]:
    """Return the chosen class and its probability, NaN if that was not stored."""
    if class_index is not None and not view.reader.model(model).predictions:
        return class_index, math.nan
    predicted = view.predicted(model)
    classes = predicted.classes[row].tolist()
    if class_index is None and classes[0] < 0:
        raise NotFoundError(
            f"The model {model} has no prediction for the image {view.keys(np.array([row]))[0]}; name a class."
        )
    chosen = classes[0] if class_index is None else class_index
    place = classes.index(chosen) if chosen in classes else -1
    return chosen, float(predicted.probabilities[row, place]) if place >= 0 else math.nan
