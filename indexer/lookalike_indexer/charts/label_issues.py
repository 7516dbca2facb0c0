"""Sheet of images whose label is likely wrong."""

from __future__ import annotations

from typing import Any

from PIL import Image

from lookalike_indexer.charts.montage import ODD, MontageStyle, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.text import plain_names

_STYLE = MontageStyle(tile=144, columns=8)


def label_issues_sheet(result: Result, thumbnails: Thumbnails) -> Image.Image:
    """Draw the listed images, the likeliest first: given and suggested label with both probabilities, and file."""
    listed = result.tables["issues"].to_pylist()
    pictures = thumbnails.pictures_of_ids([line["id"] for line in listed])
    tiles = [Tile(picture, _caption(line), ODD, words=3) for picture, line in zip(pictures, listed, strict=True)]
    issues = int(result.figures["issues"])
    told = f"the first {len(listed):,} of {issues:,}" if len(listed) < issues else f"{issues:,}"
    return montage([Section(tiles)], f"Labels that are likely wrong, likeliest first: {told}", _STYLE)


def _caption(line: dict[str, Any]) -> list[str]:
    return [
        f"{line['rank']}. {plain_names(line['label'])}",
        f"rather {plain_names(line['suggested'])}",
        f"{line['suggested_probability']:.0%}, label {line['label_probability']:.0%}",
        line["key"].rsplit("/", 1)[-1],
    ]
