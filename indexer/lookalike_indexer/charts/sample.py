"""Montage of a spread-out subset."""

from __future__ import annotations

from PIL import Image

from lookalike_indexer.charts.montage import MontageStyle, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.text import plain_names

_MOST = 96
_STYLE = MontageStyle(columns=12)


def sample_montage(result: Result, thumbnails: Thumbnails) -> Image.Image:
    """Draw the chosen images in their order, the first 96 of them."""
    every = result.tables["images"].to_pylist()
    lines = every[:_MOST]
    pictures = thumbnails.pictures_of_ids([line["id"] for line in lines])
    title = f"{len(every):,} images spread out over {result.settings['space']}"
    if len(every) > _MOST:
        title += f" (the first {_MOST})"
    tiles = [
        Tile(picture, [f"{line['rank']}. {plain_names(line['label'])}", line["key"].rsplit("/", 1)[-1]])
        for picture, line in zip(pictures, lines, strict=True)
    ]
    return montage([Section(tiles)], title, _STYLE)
