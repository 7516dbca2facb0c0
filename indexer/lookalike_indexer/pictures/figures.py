"""What charts have in common: labels taken literally, PNG files that do not depend on the day."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Sequence

from matplotlib.figure import Figure

from lookalike_indexer.text import plain_names, printable

# Longer names would push the chart out of its picture.
_LONGEST = 32


def short(text: str, longest: int = _LONGEST) -> str:
    """A name for an axis or legend: one line, without WordNet numbers, a dollar sign only a dollar sign.

    When it is too long, its middle goes: names of spaces differ at their end,
    others at their beginning.
    """
    return _cut(plain_names(printable(text)), longest)


def short_names(names: Sequence[str]) -> list[str]:
    """`short` names of one axis; those that only WordNet numbers tell apart, as both cranes, keep them."""
    counts = Counter(plain_names(name) for name in names)
    return [short(name) if counts[plain_names(name)] == 1 else _cut(printable(name), _LONGEST) for name in names]


def _cut(line: str, longest: int) -> str:
    if len(line) > longest:
        half = (longest - 1) // 2
        line = f"{line[: longest - 1 - half]}…{line[-half:]}"
    return line.replace("$", r"\$")


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as a PNG file."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; saying so for each is of no use.
        warnings.filterwarnings("ignore", message=".*Glyph .* missing from", category=UserWarning)
        figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()
