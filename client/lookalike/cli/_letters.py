"""Text in montages: the font, and text cut or wrapped to a width.

This module must draw the same as lookalike_indexer.charts.lettering, which this package
does not import; a test compares both.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from pathlib import Path

from PIL import ImageFont

from lookalike.cli._text import printable

_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
# Matches only before a word: in "n01440764_10026.JPEG" the number is part of a file name.
_WNID = re.compile(r"\bn\d{8}[_ -](?=[^\W\d])")


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, as matplotlib does; it has Latin, Greek, Cyrillic and Arabic; other letters show as a box."""
    with resources.as_file(resources.files("lookalike.cli") / "fonts" / _FONTS[bold]) as path:
        # Basic layout draws the same on every machine; Raqm layout needs a library that not every Pillow build has.
        return ImageFont.truetype(str(Path(path)), size, layout_engine=ImageFont.Layout.BASIC)


def plain_names(text: str) -> str:
    """Remove WordNet numbers: "n03445777_golf_ball" becomes "golf_ball"."""
    return _WNID.sub("", text)


def fitted(text: str, width: float, letters: ImageFont.FreeTypeFont, is_path: bool = False) -> str:
    """Cut text to one line of a width in pixels and remove WordNet numbers; a path keeps these and its end."""
    text = printable(" ".join(text.split()))
    text = text if is_path else plain_names(text)
    if letters.getlength(text) <= width:
        return text
    # Find the longest part that fits by bisection, since keys can be long.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if letters.getlength(_cut(text, middle, is_path)) <= width:
            low = middle
        else:
            high = middle - 1
    return _cut(text, low, is_path)


def _cut(text: str, kept: int, is_path: bool) -> str:
    return f"…{text[len(text) - kept :]}" if is_path else f"{text[:kept].rstrip()}…"


def wrapped(text: str, width: float, letters: ImageFont.FreeTypeFont, lines: int) -> list[str]:
    """Wrap text at spaces into at most `lines` lines of a width in pixels; cut the last line if needed."""
    found: list[str] = []
    words = plain_names(printable(" ".join(text.split()))).split(" ")
    while words and len(found) < lines - 1:
        taken = 1
        while taken < len(words) and letters.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        found.append(fitted(" ".join(words[:taken]), width, letters))
        words = words[taken:]
    return [*found, fitted(" ".join(words), width, letters)] if words else found
