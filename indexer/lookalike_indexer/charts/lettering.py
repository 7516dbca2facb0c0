"""Lettering: the font, and texts cut and wrapped to the available space."""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib
from PIL import ImageFont

from lookalike_indexer.text import plain_names, printable


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans from matplotlib: Latin, Greek, Cyrillic, Arabic and more; other letters show as a box."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    # Basic layout draws the same everywhere; the other one needs a library that not every build of Pillow has.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def fitted(text: str, width: float, letters: ImageFont.FreeTypeFont, keep_end: bool = False) -> str:
    """Return the text on one line, cut to a width in pixels, without WordNet numbers.

    `keep_end` is for a path: it keeps its numbers, and its beginning is cut.
    """
    text = printable(text) if keep_end else plain_names(printable(text))
    if letters.getlength(text) <= width:
        return text
    # Bisect the longest piece that fits, because keys can be long.
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
    """Return the text in at most `lines` lines of a width in pixels, broken at spaces; the last one is cut if
    necessary.
    """
    found: list[str] = []
    words = plain_names(printable(text)).split(" ")
    while words and len(found) < lines - 1:
        taken = 1
        while taken < len(words) and letters.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        found.append(fitted(" ".join(words[:taken]), width, letters))
        words = words[taken:]
    return [*found, fitted(" ".join(words), width, letters)] if words else found
