"""Text for terminals and drawings: sanitized names and aligned tables."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

# Only before a word: "n01440764_10026.JPEG" is a numbered file.
_WNID = re.compile(r"\bn\d{8}[_ -](?=[^\W\d])")
_NAMES = 20
_LEADING = re.compile(r"^n\d{8}[_ -]+")


def counted(number: int, noun: str) -> str:
    """Return the number with the noun in its singular or regular plural: "1 image", "1,234 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return the text on one line, without characters that would move a cursor or color a terminal."""
    return harmless(" ".join(text.split()))


def plain_names(text: str) -> str:
    """Return the text without WordNet numbers: "n03445777_golf_ball" is "golf_ball"."""
    return _WNID.sub("", text)


def loose_name(text: str) -> str:
    """Return a key that spellings of one name share, such as "n02979186_cassette_player" and "Cassette player"."""
    return " ".join(re.split(r"[\s_-]+", _LEADING.sub("", text, count=1).strip().casefold()))


def harmless(text: str) -> str:
    """Return the text with every nonprintable character, such as a line break, as an escape sequence."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def did_you_mean(name: str, names: Iterable[str], those: str) -> str:
    """Return the end of a sentence about an unknown name: the most similar of `names`, then `those` and all names.

    After 20 names, it gives the number of further ones.
    """
    there = list(names)
    by_case = {each.casefold(): each for each in reversed(there)}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1) if len(there) > 1 else []
    guess = f"; did you mean {by_case[near[0]]!r}? {those[:1].upper()}{those[1:]}: " if near else f"; {those}: "
    more = f" and {len(there) - _NAMES} more" if len(there) > _NAMES else ""
    return guess + (", ".join(there[:_NAMES]) or "none") + more


def similar_or_listed(close: Sequence[str], listing: str) -> str:
    """Return the end of a sentence about an unknown name: similar names, or else the function that lists all."""
    return f"did you mean {', '.join(close)}?" if close else f"Python's {listing} lists the names."


def columns(text: str) -> int:
    """Return the number of terminal columns of a printable text."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def aligned(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of aligned columns, numbers to the right; None and NaN are "-", floats have three decimals."""
    cells = [[cell(value) for value in row] for row in rows]
    numeric = [
        any(_number(row[at]) for row in rows) and all(row[at] is None or _number(row[at]) for row in rows)
        for at in range(len(headers))
    ]
    widths = [max(map(columns, column)) for column in zip(headers, *cells, strict=True)]
    lines = []
    for line in [list(headers), *cells]:
        padded = [
            " " * (wide - columns(text)) + text if right else text + " " * (wide - columns(text))
            for text, wide, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def cell(value: object) -> str:
    """Return a value as a short printable text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:z.3f}" if math.isfinite(value) else "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(each) for each in value)
    return printable(str(value))


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
