"""Montage of near-duplicates in different splits."""

from __future__ import annotations

from PIL import Image

from lookalike_indexer.charts.montage import ODD, QUERY, MontageStyle, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.result import Result

_PAIRS = 32
_STYLE = MontageStyle(columns=8)


def leaks_montage(result: Result, thumbnails: Thumbnails) -> Image.Image:
    """Draw the nearest pairs side by side, four in a row; the title states how many of all."""
    lines = result.tables["leaks"].to_pylist()
    title = f"Near-duplicates in different splits of {result.settings['split']}{result.measured_by}"
    if len(lines) > _PAIRS:
        title += f" (the nearest {_PAIRS} of {len(lines):,} pairs)"
    lines = lines[:_PAIRS]
    pictures = thumbnails.pictures_of_ids([line[side] for line in lines for side in ("id", "other_id")])
    tiles = []
    for at, line in enumerate(lines):
        told = "exact copy" if line["exact"] else f"{line['distance']:.3f}"
        for number, side in enumerate(("", "other_")):
            name = line[f"{side}key"].rsplit("/", 1)[-1]
            caption = [line[f"{side}split"], f"{line['rank']}. {told}", name]
            tiles.append(Tile(pictures[2 * at + number], caption, (QUERY, ODD)[number], words=2))
    return montage([Section(tiles)], title, _STYLE)
