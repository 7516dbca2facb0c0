"""Montages: images with captions, in rows, under titles.

This module must draw the same as lookalike_indexer.charts.montage, which this package
does not import; a test compares both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageOps

from lookalike.cli._letters import fitted, font, wrapped

TILE: Final = 160
_COLUMNS, _GAP, _MARGIN, _TEXT, _TITLE = 6, 14, 16, 12, 17
_PAPER, _INK, _GRAY, _FAINT = "white", "#202020", "#707070", "#e4e4e4"
# Frame colors: the query, another label, the same label.
QUERY, ODD, GOOD = "#1060c0", "#c02020", "#2a8a3a"
_LINE = round(1.35 * _TEXT)


@dataclass(frozen=True)
class Tile:
    """An image, or None for a placeholder, with lines below it and optionally a frame in a color.

    The first line is words. The lines below it are mostly paths; if too long, they are cut at their beginning.
    """

    picture: Image.Image | None
    lines: Sequence[str] = ()
    frame: str = ""


@dataclass(frozen=True)
class Section:
    """Tiles that begin a new row, under a title unless that is empty."""

    tiles: Sequence[Tile]
    title: str = ""


def draw(sections: Sequence[Section], title: str = "") -> Image.Image:
    """Draw sections of tiles below each other as an RGB image; long titles are wrapped."""
    columns = max(1, min(_COLUMNS, max((len(section.tiles) for section in sections), default=1)))
    # The title needs room even if there is only one tile.
    width = max(2 * _MARGIN + columns * (TILE + _GAP) - _GAP, 4 * TILE)
    heading = wrapped(title, width - 2 * _MARGIN, font(_TITLE, bold=True), 3) if title else []
    top = _MARGIN + len(heading) * round(1.35 * _TITLE) + (_GAP if heading else 0)
    heights = [_height(section, columns) for section in sections]
    canvas = Image.new("RGB", (width, top + sum(heights) + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(heading):
        place = (_MARGIN, _MARGIN + number * round(1.35 * _TITLE))
        pen.text(place, line, fill=_INK, font=font(_TITLE, bold=True))
    for section, height in zip(sections, heights, strict=True):
        _draw_section(canvas, pen, section, columns, top)
        top += height
    return canvas


def _captions(section: Section) -> int:
    return max((len(tile.lines) for tile in section.tiles), default=0)


def _step(section: Section) -> int:
    return TILE + 4 + _captions(section) * _LINE + _GAP


def _height(section: Section, columns: int) -> int:
    titles = 2 * _LINE if section.title else 0
    return titles + math.ceil(len(section.tiles) / columns) * _step(section)


def _draw_section(canvas: Image.Image, pen: ImageDraw.ImageDraw, section: Section, columns: int, top: int) -> None:
    if section.title:
        letters = font(_TEXT + 1, bold=True)
        pen.text((_MARGIN, top), fitted(section.title, canvas.width - 2 * _MARGIN, letters), _INK, letters)
        top += 2 * _LINE - _GAP // 2
    for number, tile in enumerate(section.tiles):
        row, column = divmod(number, columns)
        _draw_tile(canvas, pen, tile, (_MARGIN + column * (TILE + _GAP), top + row * _step(section)))


def _draw_tile(canvas: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, place: tuple[int, int]) -> None:
    left, top = place
    if tile.picture is None:
        pen.rectangle((left, top, left + TILE - 1, top + TILE - 1), fill=_FAINT)
        middle = (left + TILE / 2, top + TILE / 2)
        pen.text(middle, "no image", _GRAY, font(_TEXT), anchor="mm")
    else:
        small = ImageOps.contain(tile.picture, (TILE, TILE), Image.Resampling.LANCZOS)
        canvas.paste(small, (left + (TILE - small.width) // 2, top + (TILE - small.height) // 2))
    if tile.frame:
        pen.rectangle((left - 3, top - 3, left + TILE + 2, top + TILE + 2), outline=tile.frame, width=3)
    for number, text in enumerate(tile.lines):
        letters = font(_TEXT, bold=number == 0)
        line = fitted(text, TILE + _GAP // 3, letters, is_path=number > 0)
        color = tile.frame or _INK if number == 0 else _INK
        pen.text((left, top + TILE + 4 + number * _LINE), line, color, letters)
