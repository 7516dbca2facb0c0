"""Letters in pictures: the font, and texts cut and wrapped to the room that there is.

As lookalike_indexer.pictures.lettering, which this package does not import; a
test compares what both draw.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from pathlib import Path

from PIL import ImageFont

from lookalike.cli._text import printable

_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
# Before a word: "n01440764_10026.JPEG" is the number of a file.
_WNID = re.compile(r"\bn\d{8}[_ -](?=[^\W\d])")


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib writes in, too: Latin, Greek, Cyrillic, Arabic and more; others show as a box."""
    with resources.as_file(resources.files("lookalike.cli") / "fonts" / _FONTS[bold]) as path:
        # Basic layout draws the same wherever Pillow runs; the other one needs a library that not every build has.
        return ImageFont.truetype(str(Path(path)), size, layout_engine=ImageFont.Layout.BASIC)


def plain_names(text: str) -> str:
    """The text without WordNet numbers: "n03445777_golf_ball" is "golf_ball"."""
    return _WNID.sub("", text)


def fitted(text: str, width: float, letters: ImageFont.FreeTypeFont, is_path: bool = False) -> str:
    """The text on one line, cut to a width in pixels, without WordNet numbers; a path keeps them and its end."""
    text = printable(" ".join(text.split()))
    text = text if is_path else plain_names(text)
    if letters.getlength(text) <= width:
        return text
    # The longest piece that fits, by bisection: keys can be long.
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
    """The text in at most so many lines of a width in pixels, broken at spaces; the last one is cut if need be."""
    found: list[str] = []
    words = plain_names(printable(" ".join(text.split()))).split(" ")
    while words and len(found) < lines - 1:
        taken = 1
        while taken < len(words) and letters.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        found.append(fitted(" ".join(words[:taken]), width, letters))
        words = words[taken:]
    return [*found, fitted(" ".join(words), width, letters)] if words else found
