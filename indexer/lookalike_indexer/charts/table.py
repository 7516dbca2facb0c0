"""Tables whose cells are texts and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from lookalike_indexer.charts.lettering import fitted, font, wrapped
from lookalike_indexer.charts.montage import FAINT, GRAY, INK, PAPER, MontageStyle, Tile, draw_tile

_STYLE = MontageStyle(tile=144, gap=12, text=13)
# The maximum number of lines of a text in its cell.
_LINES = 3


@dataclass(frozen=True)
class Column:
    """A column's head and its width in pixels; numbers are right-aligned."""

    head: str
    width: int = _STYLE.tile
    is_number: bool = False


@dataclass(frozen=True)
class TextCell:
    """Lines of text in a cell: the first one bold in `color`, the last one a path if `is_path`."""

    texts: Sequence[str] = ()
    color: str = INK
    is_path: bool = False


Cell = TextCell | Tile
Row = Sequence[Cell]


def table(columns: Sequence[Column], rows: Sequence[Row], title: str = "", notes: Sequence[str] = ()) -> Image.Image:
    """Draw a table, RGB. A row whose first cell is empty continues the one above; `notes` are at the end."""
    style = _STYLE
    width = 2 * style.margin + sum(column.width + style.gap for column in columns) - style.gap
    room = width - 2 * style.margin
    title_line, line = round(1.35 * style.title), round(1.4 * style.text)
    heading = wrapped(title, room, font(style.title, bold=True), 3) if title else []
    told = [part for note in notes for part in wrapped(note, room, font(style.text), _LINES)]
    head = style.margin + len(heading) * title_line + (style.gap if heading else 0)
    row_height = style.tile + style.gap + 4
    end = head + line + 10 + len(rows) * row_height
    canvas = Image.new("RGB", (width, end + len(told) * line + style.margin), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, text in enumerate(heading):
        place = (style.margin, style.margin + number * title_line)
        pen.text(place, text, INK, font(style.title, bold=True))
    lefts = [style.margin + sum(each.width + style.gap for each in columns[:at]) for at in range(len(columns))]
    for left, column in zip(lefts, columns, strict=True):
        _write(pen, column.head, (left, head), column, font(style.text, bold=True), GRAY)
    top = head + line + 10
    for row in rows:
        if not (isinstance(row[0], TextCell) and not row[0].texts):
            pen.line((style.margin, top - 7, width - style.margin, top - 7), FAINT)
        for left, column, cell in zip(lefts, columns, row, strict=True):
            if isinstance(cell, Tile):
                draw_tile(canvas, pen, cell, (left, top), style)
            else:
                _draw_text(pen, cell, (left, top), column, line)
        top += row_height
    for number, text in enumerate(told):
        pen.text((style.margin, top + number * line), text, INK, font(style.text))
    return canvas


def _draw_text(pen: ImageDraw.ImageDraw, cell: TextCell, place: tuple[int, int], column: Column, line: int) -> None:
    left, top = place
    for number, text in enumerate(cell.texts):
        letters = font(_STYLE.text, bold=number == 0 and not column.is_number)
        if cell.is_path and number == len(cell.texts) - 1:
            parts = [fitted(text, column.width, letters, keep_end=True)]
        else:
            parts = wrapped(text, column.width, letters, _LINES)
        for part in parts:
            _write(pen, part, (left, top), column, letters, cell.color if number == 0 else GRAY)
            top += line


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    place: tuple[int, int],
    column: Column,
    letters: ImageFont.FreeTypeFont,
    color: str,
) -> None:
    left, top = place
    if column.is_number:
        pen.text((left + column.width, top), text, color, letters, anchor="ra")
    else:
        pen.text((left, top), text, color, letters)
