"""A picture of an answer: the query, then what was found, each with its caption.

The stored pictures come through the server, so that it can be drawn on any
machine.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from PIL import Image, ImageDraw, ImageFont, ImageOps

from lookalike import Client
from lookalike.cli._subject import Subject
from lookalike.cli._text import printable

TILE: Final = 160
_GAP: Final = 10
_LINE: Final = 15
_CAPTION: Final = 3 * _LINE + 3
_COLUMNS: Final = 6
_PAPER, _INK, _FAINT, _QUERY = "white", "#202020", "#d8d8d8", "#1060c0"


@dataclass(frozen=True)
class Tile:
    """A picture, None where there is none, and up to three lines below it."""

    picture: Image.Image | None
    caption: Sequence[str]
    is_query: bool = False


def check_output(path: str) -> None:
    """Refuse, before any work, a file that could not be written. click.UsageError."""
    Image.init()
    suffix = Path(path).suffix.lower()
    if Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise click.UsageError(
            f"--montage {path}: pictures cannot be written as {suffix or 'a file without suffix'!r}; use .png."
        )
    if not Path(path).resolve().parent.is_dir():
        raise click.UsageError(f"--montage {path}: the folder {str(Path(path).parent)!r} does not exist.")


def fetch(client: Client, ids: Sequence[int]) -> dict[int, Image.Image | None]:
    """The thumbnails of some images, in calls that are within the server's limits."""
    wanted = list(dict.fromkeys(ids))
    step = max(1, client.server_info().limits.max_batch)
    pictures: dict[int, Image.Image | None] = {}
    for start in range(0, len(wanted), step):
        batch = wanted[start : start + step]
        for image_id, jpeg in zip(batch, client.thumbnails(batch, size=TILE), strict=True):
            pictures[image_id] = None if jpeg is None else Image.open(io.BytesIO(jpeg)).convert("RGB")
    return pictures


def query_tile(client: Client, subject: Subject) -> Tile:
    """The tile of what was asked about."""
    if subject.is_file:
        file = subject.text if subject.piped is None else io.BytesIO(subject.piped)
        return Tile(_read_local(file), ["query", Path(subject.text).name], is_query=True)
    image = client.lookup(key=subject.text)
    return Tile(fetch(client, [image.id])[image.id], ["query", image.label or "", image.key], is_query=True)


def _read_local(file: str | io.BytesIO) -> Image.Image | None:
    """A small upright copy of a file; None where Pillow cannot read what the server perhaps could."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large or odd files, which are no matter for a thumbnail
        try:
            with Image.open(file) as image:
                image.draft("RGB", (2 * TILE, 2 * TILE))
                small = ImageOps.exif_transpose(image).convert("RGB")
                small.thumbnail((TILE, TILE))
                return small
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None


def draw(sections: Sequence[Sequence[Tile]]) -> Image.Image:
    """All tiles in rows; each section begins a new row."""
    columns = min(_COLUMNS, max(len(section) for section in sections))
    rows = sum(math.ceil(len(section) / columns) for section in sections)
    cell_width, cell_height = TILE + _GAP, TILE + _CAPTION + _GAP
    canvas = Image.new("RGB", (_GAP + columns * cell_width, _GAP + rows * cell_height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12)
    row = 0
    for section in sections:
        for number, tile in enumerate(section):
            line, column = divmod(number, columns)
            left, top = _GAP + column * cell_width, _GAP + (row + line) * cell_height
            _place(canvas, pen, font, tile, left, top)
        row += math.ceil(len(section) / columns)
    return canvas


def _place(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    tile: Tile,
    left: int,
    top: int,
) -> None:
    box = (left, top, left + TILE - 1, top + TILE - 1)
    if tile.picture is None:
        pen.rectangle(box, fill=_FAINT)
        pen.text((left + TILE / 2, top + TILE / 2), "no picture", fill=_INK, font=font, anchor="mm")
    else:
        fitted = ImageOps.contain(tile.picture, (TILE, TILE), Image.Resampling.LANCZOS)
        canvas.paste(fitted, (left + (TILE - fitted.width) // 2, top + (TILE - fitted.height) // 2))
    if tile.is_query:
        pen.rectangle((left - 4, top - 4, left + TILE + 3, top + TILE + 3), outline=_QUERY, width=3)
    for number, text in enumerate(tile.caption[:3]):
        colour = _QUERY if tile.is_query and number == 0 else _INK
        pen.text((left, top + TILE + 5 + number * _LINE), _fit(text, font), fill=colour, font=font)


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its beginning cut off where it is too wide: the end of a key tells more."""
    text = printable(" ".join(text.split()))
    if font.getlength(text) <= TILE:
        return text
    while text and font.getlength(f"…{text}") > TILE:
        text = text[1:]
    return f"…{text}"


def save(montage: Image.Image, path: str) -> None:
    """Write the picture; click.ClickException where that fails."""
    try:
        montage.save(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"--montage {path}: it cannot be written: {error}.") from error
