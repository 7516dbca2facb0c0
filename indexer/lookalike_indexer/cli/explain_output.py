"""Results and drawings of `lookalike explain`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lookalike_indexer.cli.out_folder import OutFolder
from lookalike_indexer.cli.subjects import NamedImage
from lookalike_indexer.errors import DecodeError, NotBuiltError, WeightsError
from lookalike_indexer.experiments.explain import explain, explain_picture
from lookalike_indexer.experiments.explain_table import explain_table
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View
from lookalike_indexer.images.thumbnail import thumbnail
from lookalike_indexer.sources.fetch import fetch

if TYPE_CHECKING:
    from PIL import Image

    from lookalike_indexer.attribution.drawn import Attributions
    from lookalike_indexer.attribution.opened import OpenedModel

_METHODS = ("cam", "gbp")
_THUMBNAIL = 160


class Explainer:
    """Explains stored images and image files. Loads the network when it is first needed."""

    def __init__(
        self,
        view: View,
        space: str,
        weights_file: str | None,
        neighbors: int,
        class_map: Mapping[str, Sequence[str]] | None,
    ) -> None:
        self.view = view
        self.space, entry = view.reader.space(space)
        self.model = entry.model
        self._weights_file, self._neighbors, self._class_map = weights_file, neighbors, class_map

    @functools.cached_property
    def opened(self) -> OpenedModel:
        """The space's model with its weights. Raise the same errors as OpenedModel."""
        from lookalike_indexer.attribution.opened import OpenedModel

        return OpenedModel(self.view.reader, self.model, self._weights_file)

    def uri(self, image: NamedImage) -> str:
        """Return the URI of an image: a file, or a member of a container."""
        return self.view.uris(np.array([image.row]))[0] if image.row >= 0 else str(Path(image.text).absolute())

    def result(self, image: NamedImage) -> Result:
        """Explain an image. Raise DecodeError if the file is not an image."""
        given = {"neighbors": self._neighbors, "class_map": self._class_map}
        if image.row >= 0:
            return explain(self.view, image.row, self.space, **given)  # type: ignore[arg-type]
        opened = self.opened
        try:
            pixels = opened.pixels(self.uri(image))
        except DecodeError as error:
            raise DecodeError(f"{image.text} cannot be read as an image: {error}.") from error
        picture = opened.embed(image.text, pixels, self.space)
        return explain_picture(self.view, picture, self.space, **given)  # type: ignore[arg-type]

    def attributions(self, image: NamedImage, result: Result, methods: Sequence[str]) -> Attributions:
        """Compute the attributions of an explained image. Raise DecodeError if it no longer exists."""
        from lookalike_indexer.attribution.drawn import drawn_attributions

        try:
            pixels = self.opened.pixels(self.uri(image))
        except DecodeError as error:
            raise DecodeError(
                f"{self.uri(image)} can no longer be read: {error}; restore the file that was embedded."
            ) from error
        return drawn_attributions(self.opened, pixels, result, methods)  # type: ignore[arg-type]

    def thumbnail(self, image: NamedImage) -> Image.Image | None:
        """Return a thumbnail of an image, None if it cannot be read."""
        import io

        from PIL import Image

        limits = self.view.reader.manifest.limits
        try:
            data = thumbnail(fetch(self.uri(image), limits.max_bytes), _THUMBNAIL, limits)
        except DecodeError:
            return None
        return Image.open(io.BytesIO(data)).convert("RGB")


def draw(
    explainer: Explainer,
    folder: OutFolder,
    images: Sequence[NamedImage],
    results: Sequence[Result],
    asked: Sequence[str],
) -> list[str]:
    """Draw a table of all images and a sheet for each image. Return the reasons for missing drawings.

    The methods in `asked` must succeed, and also appear on each image's sheet. Without any, the table shows both
    methods where possible.
    """
    from lookalike_indexer.charts.explain_sheet import explain_sheets
    from lookalike_indexer.charts.explanation import explanation_sheet

    found, notes = _attributed(explainer, images, results, asked)
    thumbnails = folder.thumbnails(explainer.view)
    small = {image.text: explainer.thumbnail(image) for image in images}
    seen = {key: one.original for key, one in found.items()}
    drawn = {image.text: found[image.text].drawn if image.text in found else {} for image in images}
    methods = [method for method in asked or _METHODS if any(method in pair for one in drawn.values() for pair in one)]
    classes = explain_table(results)
    for name, sheet in explain_sheets(classes, small | seen, drawn, methods, explainer.model, notes):
        folder.save(name, sheet)
    for image, result in zip(images, results, strict=True):
        sheet = explanation_sheet(
            result,
            small[image.text],
            lambda image_id: thumbnails.picture(explainer.view.row_of_id(image_id)),
            drawn[image.text] if asked else {},
        )
        folder.save(f"explain-{image.text if image.row >= 0 else Path(image.text).name}", sheet)
    return notes


def _attributed(
    explainer: Explainer, images: Sequence[NamedImage], results: Sequence[Result], asked: Sequence[str]
) -> tuple[dict[str, Attributions], list[str]]:
    """Return the attributions by key, and the reasons for missing ones. Raise the error if `asked` names the method."""
    found: dict[str, Attributions] = {}
    notes: list[str] = []
    for image, result in zip(images, results, strict=True):
        try:
            found[image.text] = explainer.attributions(image, result, asked or _METHODS)
        except (WeightsError, NotBuiltError, DecodeError) as error:
            if asked:
                raise
            notes.append(f"Attributions were not drawn: {error}")
            if not isinstance(error, DecodeError):
                break
            continue
        for method, reason in found[image.text].lacking.items():
            if method in asked:
                raise NotBuiltError(reason)
            notes.append(reason)
    return found, list(dict.fromkeys(notes))
