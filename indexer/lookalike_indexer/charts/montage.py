"""Montages: images with captions, in rows, under titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from lookalike_indexer.charts.lettering import fitted, font, wrapped

PAPER, INK, GRAY, FAINT = "white", "#202020", "#707070", "#e4e4e4"
# Frame colors: the query, odd images, correct images.
QUERY, ODD, GOOD = "#1060c0", "#c02020", "#2a8a3a"


@dataclass(frozen=True)
class Tile:
    """An image, None if its file is missing, with lines below it and optionally a colored frame.

    The first `words` lines are cut at their end if they are too long; the lines below them, mostly files, at their
    beginning.
    """

    picture: Image.Image | None
    lines: Sequence[str] = ()
    frame: str = ""
    words: int = 1


@dataclass(frozen=True)
class Section:
    """Tiles that begin a new row, under a title unless it is empty."""

    tiles: Sequence[Tile]
    title: str = ""


@dataclass(frozen=True)
class MontageStyle:
    """Sizes in pixels: `tile` is the side of the square that an image is fitted into."""

    tile: int = 128
    columns: int = 8
    gap: int = 14
    text: int = 12
    title: int = 17
    margin: int = 16


DEFAULT_STYLE = MontageStyle()


def montage(sections: Sequence[Section], title: str = "", style: MontageStyle = DEFAULT_STYLE) -> Image.Image:
    """Draw sections of tiles below each other, RGB; long captions are cut, a long title is wrapped."""
    columns = max(1, min(style.columns, max((len(section.tiles) for section in sections), default=1)))
    # A title needs some width even if there is only one tile.
    width = max(2 * style.margin + columns * (style.tile + style.gap) - style.gap, 4 * style.tile)
    heading = wrapped(title, width - 2 * style.margin, font(style.title, bold=True), 3) if title else []
    top = style.margin + len(heading) * round(1.35 * style.title) + (style.gap if heading else 0)
    heights = [_height(section, columns, style) for section in sections]
    canvas = Image.new("RGB", (width, top + sum(heights) + style.margin), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(heading):
        place = (style.margin, style.margin + number * round(1.35 * style.title))
        pen.text(place, line, fill=INK, font=font(style.title, bold=True))
    for section, height in zip(sections, heights, strict=True):
        _draw_section(canvas, pen, section, columns, top, style)
        top += height
    return canvas


def _line(style: MontageStyle) -> int:
    return round(1.35 * style.text)


def _captions(section: Section) -> int:
    return max((len(tile.lines) for tile in section.tiles), default=0)


def _height(section: Section, columns: int, style: MontageStyle) -> int:
    rows = math.ceil(len(section.tiles) / columns)
    titles = 2 * _line(style) if section.title else 0
    return titles + rows * (style.tile + 4 + _captions(section) * _line(style) + style.gap)


def _draw_section(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, section: Section, columns: int, top: int, style: MontageStyle
) -> None:
    if section.title:
        letters = font(style.text + 1, bold=True)
        pen.text((style.margin, top), fitted(section.title, canvas.width - 2 * style.margin, letters), INK, letters)
        top += 2 * _line(style) - style.gap // 2
    step = style.tile + 4 + _captions(section) * _line(style) + style.gap
    for number, tile in enumerate(section.tiles):
        row, column = divmod(number, columns)
        place = (style.margin + column * (style.tile + style.gap), top + row * step)
        draw_tile(canvas, pen, tile, place, style)


def draw_tile(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, place: tuple[int, int], style: MontageStyle
) -> None:
    """Draw one tile with its upper left corner at a place."""
    left, top = place
    if tile.picture is None:
        pen.rectangle((left, top, left + style.tile - 1, top + style.tile - 1), fill=FAINT)
        middle = (left + style.tile / 2, top + style.tile / 2)
        pen.text(middle, fitted("no image", style.tile, font(style.text)), GRAY, font(style.text), anchor="mm")
    else:
        small = ImageOps.contain(tile.picture, (style.tile, style.tile), Image.Resampling.LANCZOS)
        canvas.paste(small, (left + (style.tile - small.width) // 2, top + (style.tile - small.height) // 2))
    if tile.frame:
        box = (left - 3, top - 3, left + style.tile + 2, top + style.tile + 2)
        pen.rectangle(box, outline=tile.frame, width=3)
    for number, text in enumerate(tile.lines):
        letters = font(style.text, bold=number == 0)
        # File names differ at their end.
        line = fitted(text, style.tile + style.gap // 3, letters, keep_end=number >= tile.words)
        color = tile.frame or INK if number == 0 else INK
        pen.text((left, top + style.tile + 4 + number * _line(style)), line, color, letters)
