"""Montage of images with quality flags."""

from __future__ import annotations

from PIL import Image

from lookalike_indexer.charts.montage import ODD, MontageStyle, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.text import plain_names

_IMAGES = 16
_STYLE = MontageStyle(columns=8)


def quality_montage(result: Result, thumbnails: Thumbnails) -> Image.Image:
    """Draw the first 16 listed images of each flag, with the rule and the value that decides it."""
    listed = result.tables["images"].to_pylist()
    sections = []
    for flag in result.tables["flags"].to_pylist():
        lines = [line for line in listed if line["flag"] == flag["flag"]][:_IMAGES]
        if not lines:
            continue
        pictures = thumbnails.pictures_of_ids([line["id"] for line in lines])
        tiles = [
            Tile(
                picture,
                [f"{line['value']:.3g}", plain_names(line["label"]) or "no label", line["key"].rsplit("/", 1)[-1]],
                ODD,
            )
            for picture, line in zip(pictures, lines, strict=True)
        ]
        more = f", the first {len(lines)}" if len(lines) < flag["images"] else ""
        name = flag["flag"].replace("_", " ")
        sections.append(Section(tiles, f"{name}: {flag['images']:,} images ({flag['rule']}){more}"))
    figures = result.figures
    title = f"Quality flags of {int(figures['flagged']):,} of {int(figures['images']):,} images"
    return montage(sections, title, _STYLE)
