"""Letters in pictures: the font, and texts cut and wrapped to the room that there is."""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib
from PIL import ImageFont

from lookalike_indexer.text import plain_names, printable


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as it comes with matplotlib: Latin, Greek, Cyrillic, Arabic and more; others show as a box."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    # Basic layout draws the same wherever Pillow runs; the other one needs a library that not every build has.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def fitted(text: str, width: float, letters: ImageFont.FreeTypeFont, keep_end: bool = False) -> str:
    """The text on one line, cut to a width in pixels, without WordNet numbers.

    `keep_end` is for a path: it keeps its numbers, and its beginning is cut.
    """
    text = printable(text) if keep_end else plain_names(printable(text))
    if letters.getlength(text) <= width:
        return text
    # The longest piece that fits, by bisection: keys can be long.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if letters.getlength(_cut(text, middle, keep_end)) <= width:
            low = middle
        else:
            high = middle - 1
    return _cut(text, low, keep_end)


def _cut(text: str, kept: int, keep_end: bool) -> str:
    if keep_end:
        return f"…{text[len(text) - kept :]}"
    return f"{text[:kept].rstrip()}…"


def wrapped(text: str, width: float, letters: ImageFont.FreeTypeFont, lines: int) -> list[str]:
    """The text in at most so many lines of a width in pixels, broken at spaces; the last one is cut if need be."""
    found: list[str] = []
    words = plain_names(printable(text)).split(" ")
    while words and len(found) < lines - 1:
        taken = 1
        while taken < len(words) and letters.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        found.append(fitted(" ".join(words[:taken]), width, letters))
        words = words[taken:]
    return [*found, fitted(" ".join(words), width, letters)] if words else found
