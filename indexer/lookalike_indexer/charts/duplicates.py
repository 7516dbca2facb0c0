"""Montage of groups of duplicates."""

from __future__ import annotations

from typing import Any

from PIL import Image

from lookalike_indexer.charts.montage import GOOD, ODD, MontageStyle, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.result import Result

_GROUPS, _IMAGES = 30, 8
_STYLE = MontageStyle(columns=_IMAGES)


def duplicates_montage(result: Result, thumbnails: Thumbnails) -> Image.Image:
    """Draw each group in a row: the image to keep framed green, the others red.

    Only the first 30 groups and 8 images of each are drawn, which the titles state.
    """
    groups = result.tables["groups"].to_pylist()
    images: dict[int, list[dict[str, Any]]] = {}
    for line in result.tables["images"].to_pylist():
        images.setdefault(line["group"], []).append(line)
    title = f"Duplicates in {result.settings['space']}{result.measured_by}: green frames are kept, red ones can go"
    if len(groups) > _GROUPS:
        title += f" (the first {_GROUPS} of {len(groups):,} groups)"
    sections = []
    for group in groups[:_GROUPS]:
        lines = images[group["group"]][:_IMAGES]
        pictures = thumbnails.pictures_of_ids([line["id"] for line in lines])
        tiles = [
            Tile(picture, _caption(line), GOOD if line["keep"] else ODD, words=2)
            for picture, line in zip(pictures, lines, strict=True)
        ]
        left = group["images"] - len(lines)
        sections.append(Section(tiles, f"Group {group['group']}: {group['images']} images" + _more(left)))
    return montage(sections, title, _STYLE)


def _more(left: int) -> str:
    return f", {left} of them not drawn" if left else ""


def _caption(line: dict[str, Any]) -> list[str]:
    first = "keep" if line["keep"] else "exact copy" if line["exact"] else f"{line['distance']:.3f}"
    if line.get("by_hash"):
        first += " by hash"
    return [first, f"{line['width']} x {line['height']}", line["key"].rsplit("/", 1)[-1]]
