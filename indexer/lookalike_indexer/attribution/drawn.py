"""Attributions of explained images, drawn over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from lookalike_indexer.attribution.attributor import Method
from lookalike_indexer.attribution.opened import OpenedModel
from lookalike_indexer.charts.overlay import overlay
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.images.preprocessing import Pixels


@dataclass
class Attributions:
    """Attribution heatmaps of one image, by class index and method.

    `original` is the image as the network sees it. `lacking` has the reason for each method that the network does not
    support.
    """

    original: Image.Image
    drawn: dict[tuple[int, str], Image.Image] = field(default_factory=dict)
    lacking: dict[Method, str] = field(default_factory=dict)


def drawn_attributions(
    opened: OpenedModel, pixels: Pixels, explained: Result, methods: Sequence[Method]
) -> Attributions:
    """Draw each method for the class that the image is taken for, the rival class and, if known, that of its label.

    `pixels` is the image in the form that the network takes.
    """
    found = Attributions(Image.fromarray(pixels.transpose(1, 2, 0)))
    first = explained.tables["predictions"].column("class_index")[0].as_py()
    classes = [first, int(str(explained.settings["rival_class"])), int(str(explained.settings["own_class"]))]
    for method in methods:
        for index in dict.fromkeys(index for index in classes if index >= 0):
            try:
                attribution = opened.attributor.attribution(pixels, index, method)
            except NotBuiltError as error:
                found.lacking[method] = str(error)
                break
            found.drawn[index, method] = overlay(pixels, attribution, method)
    return found
