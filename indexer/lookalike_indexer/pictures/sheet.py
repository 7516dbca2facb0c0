"""Sheets: a table whose cells are pictures, with text at both ends of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lookalike_indexer.pictures.lettering import font, wrapped
from lookalike_indexer.pictures.montage import FAINT, INK, PAPER, MontageStyle, Tile, draw_tile

_STYLE = MontageStyle(tile=92, gap=6, text=11)
_LEFT, _RIGHT, _GROUP, _HEAD = 110, 230, 18, 26


@dataclass(frozen=True)
class SheetRow:
    """Texts before and after groups of tiles; the first line of each text is bold. A group may lack tiles."""

    before: Sequence[str]
    groups: Sequence[Sequence[Tile]]
    after: Sequence[str]


def sheet(rows: Sequence[SheetRow], heads: Sequence[str], width: int, title: str = "", after: str = "") -> Image.Image:
    """Draw rows under the heads of their groups of `width` tiles each; `after` heads the texts at the right."""
    style = _STYLE
    group = width * (style.tile + style.gap) + _GROUP
    total = 2 * style.margin + _LEFT + len(heads) * group + _RIGHT
    heading = wrapped(title, total - 2 * style.margin, font(style.title, bold=True), 2) if title else []
    line = round(1.35 * style.text)
    row_height = style.tile + 4 + _captions(rows) * line + style.gap + 4
    top = style.margin + len(heading) * round(1.35 * style.title) + style.gap
    canvas = Image.new("RGB", (total, top + _HEAD + len(rows) * row_height + style.margin), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, text in enumerate(heading):
        pen.text((style.margin, style.margin + number * round(1.35 * style.title)), text, INK, font(style.title, True))
    lefts = [style.margin + _LEFT + number * group for number in range(len(heads))]
    right = style.margin + _LEFT + len(heads) * group
    for left, head in zip([*lefts, right], [*heads, after], strict=True):
        pen.text((left, top), head, INK, font(style.text + 2, True))
    top += _HEAD
    for row in rows:
        pen.line((style.margin, top - 5, total - style.margin, top - 5), FAINT)
        _text(pen, row.before, (style.margin, top), _LEFT - 10, style)
        for left, tiles in zip(lefts, row.groups, strict=True):
            for number, tile in enumerate(tiles[:width]):
                draw_tile(canvas, pen, tile, (left + number * (style.tile + style.gap), top), style)
        _text(pen, row.after, (right, top), _RIGHT, style)
        top += row_height
    return canvas


def _captions(rows: Sequence[SheetRow]) -> int:
    return max((len(tile.lines) for row in rows for group in row.groups for tile in group), default=0)


def _text(
    pen: ImageDraw.ImageDraw, texts: Sequence[str], place: tuple[int, int], width: int, style: MontageStyle
) -> None:
    left, top = place
    for number, text in enumerate(texts):
        letters = font(style.text + (2 if number == 0 else 0), bold=number == 0)
        for line in wrapped(text, width, letters, 3):
            pen.text((left, top), line, INK, letters)
            top += round(1.35 * letters.size)
