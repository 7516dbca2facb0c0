"""Sheets: a table whose cells are images, with text at both ends of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lookalike_indexer.charts.lettering import fitted, font, wrapped
from lookalike_indexer.charts.montage import FAINT, GRAY, INK, PAPER, MontageStyle, Tile, draw_tile

_STYLE = MontageStyle(tile=92, gap=6, text=11)
_LEFT, _RIGHT, _GROUP, _HEAD = 110, 230, 18, 26


@dataclass(frozen=True)
class SheetRow:
    """Texts before and after groups of tiles; the first line of each text is bold. A group may have fewer tiles.

    `notes` are lines above the groups, none or one for each.
    """

    before: Sequence[str]
    groups: Sequence[Sequence[Tile]]
    after: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Header:
    """The header above the rows: a title and a text, optionally beside a tile; `after` is the head of the right-hand
    texts.
    """

    title: str = ""
    after: str = ""
    lead: Tile | None = None
    text: str = ""


def sheet(rows: Sequence[SheetRow], heads: Sequence[str], width: int, header: Header) -> Image.Image:
    """Draw rows under the heads of their groups of `width` tiles each, RGB."""
    style = _STYLE
    group = width * (style.tile + style.gap) + _GROUP
    right_width = _RIGHT if any(row.after for row in rows) else 0
    total = 2 * style.margin + _LEFT + len(heads) * group + right_width
    title_left = style.margin + (_LEFT if header.lead else 0)
    title_line, line = round(1.35 * style.title), round(1.35 * style.text)
    room = total - title_left - style.margin
    heading = wrapped(header.title, room, font(style.title, bold=True), 2) if header.title else []
    told = wrapped(header.text, room, font(style.text + 1), 3) if header.text else []
    lead = style.tile + 4 + len(header.lead.lines) * line + style.gap if header.lead else 0
    note = line + 3 if any(row.notes for row in rows) else 0
    row_height = style.tile + 4 + _captions(rows) * line + style.gap + 4 + note
    top = style.margin + max(len(heading) * title_line + len(told) * line + style.gap, lead)
    canvas = Image.new("RGB", (total, top + _HEAD + len(rows) * row_height + style.margin), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, text in enumerate(heading):
        pen.text((title_left, style.margin + number * title_line), text, INK, font(style.title, True))
    for number, text in enumerate(told):
        place = (title_left, style.margin + len(heading) * title_line + 2 + number * line)
        pen.text(place, text, INK, font(style.text + 1))
    if header.lead:
        draw_tile(canvas, pen, header.lead, (style.margin, style.margin), style)
    lefts = [style.margin + _LEFT + number * group for number in range(len(heads))]
    right = style.margin + _LEFT + len(heads) * group
    for left, head in zip([*lefts, right], [*heads, header.after], strict=True):
        pen.text((left, top), head, INK, font(style.text + 2, True))
    top += _HEAD
    for row in rows:
        pen.line((style.margin, top - 5, total - style.margin, top - 5), FAINT)
        _text(pen, row.before, (style.margin, top), _LEFT - 10, style)
        for left, above in zip(lefts, row.notes, strict=False):
            letters = font(style.text)
            pen.text((left, top), fitted(above, group - _GROUP, letters), GRAY, letters)
        for left, tiles in zip(lefts, row.groups, strict=True):
            for number, tile in enumerate(tiles[:width]):
                draw_tile(canvas, pen, tile, (left + number * (style.tile + style.gap), top + note), style)
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
