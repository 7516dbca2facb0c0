"""Montage of oddballs beside typical images of their class."""

from __future__ import annotations

from typing import Any

from PIL import Image

from lookalike_indexer.charts.montage import GOOD, ODD, MontageStyle, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.result import Result

_TYPICAL, _CLASSES = 3, 20
_STYLE = MontageStyle(columns=9)


def oddball_montage(result: Result, thumbnails: Thumbnails) -> Image.Image:
    """Draw a row for each listed class: three typical images framed green, then its oddballs, framed red.

    Classes are in the order of their oddest image; only the first 20 are drawn, which the title states.
    """
    odd, typical = (result.tables[table].to_pylist() for table in ("oddballs", "typical"))
    labels = list(dict.fromkeys(line["label"] for line in odd))
    by = f"{result.settings['clustering']}{result.measured_by}"
    title = f"Oddballs by {by}: green frames are typical of the class, red ones odd"
    if len(labels) > _CLASSES:
        title += f" (the first {_CLASSES} of {len(labels)} classes)"
    sections = []
    for label in labels[:_CLASSES]:
        usual = [line for line in typical if line["label"] == label][:_TYPICAL]
        unusual = [line for line in odd if line["label"] == label]
        pictures = thumbnails.pictures_of_ids([line["id"] for line in (*usual, *unusual)])
        captions = [["typical", _file(line["key"])] for line in usual] + [caption(line) for line in unusual]
        frames = [GOOD] * len(usual) + [ODD] * len(unusual)
        tiles = [Tile(*each) for each in zip(pictures, captions, frames, strict=True)]
        sections.append(Section(tiles, label))
    return montage(sections, title, _STYLE)


def caption(line: dict[str, Any]) -> list[str]:
    """Return the caption of one row of the oddballs: the oddness in words, its file, and all reasons."""
    return [_reason_text(line), _file(line["key"]), line["why"]]


def _reason_text(line: dict[str, Any]) -> str:
    like = line["looks_like"]
    if like and like != line["label"] and line["score"] < 0:
        return f"like {like}"
    if line["outside"]:
        return "outside its class"
    if line["secondary"]:
        return "among another class"
    return "far from its class"


def _file(key: str) -> str:
    name: str = key.rsplit("/", 1)[-1]
    return name
