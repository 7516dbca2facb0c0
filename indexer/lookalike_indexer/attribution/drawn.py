"""The attributions of an explained image, drawn over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike_indexer.attribution.attributor import Attributor, Method
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View
from lookalike_indexer.images.prepare import Prepared, prepare
from lookalike_indexer.pictures.explanation import Overlay
from lookalike_indexer.pictures.overlay import overlay

_TITLES: dict[Method, str] = {"cam": "Grad-CAM", "gbp": "guided backprop"}


def drawn_attributions(
    view: View, row: int, explained: Result, methods: Sequence[Method], weights_file: str | None = None
) -> list[Overlay]:
    """Each method for the class that the image is taken for and, where it is known, for its own, with captions.

    DecodeError: the image is not there any more. Others as those of `Attributor`.
    """
    attributor = Attributor.open(view.reader, str(explained.settings["model"]), weights_file)
    (uri,) = view.uris(np.array([row]))
    image = prepare(uri, attributor.preprocessing, view.reader.manifest.limits)
    if not isinstance(image, Prepared):
        raise DecodeError(f"{uri} cannot be read any more: {image.reason}; restore the file that was embedded.")
    classes = {str(explained.settings["rival"]): int(str(explained.settings["rival_class"]))}
    own = int(str(explained.settings["own_class"]))
    if own >= 0:
        classes[str(explained.settings["label"])] = own
    return [
        (
            [_TITLES[method], f"for {name}"],
            overlay(image.pixels, attributor.attribution(image.pixels, index, method), method),
        )
        for name, index in classes.items()
        for method in methods
    ]
