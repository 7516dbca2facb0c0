"""Helpers of charts: literal labels, and reproducible PNG files."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Sequence

from matplotlib.figure import Figure

from lookalike_indexer.text import plain_names, printable

# Longer names would push the chart out of its figure.
_LONGEST = 32


def short(text: str, longest: int = _LONGEST) -> str:
    """Return a name for an axis or legend: one line, without WordNet numbers, with escaped dollar signs.

    If it is too long, its middle is cut: names of spaces differ at their end, others at their beginning.
    """
    return _cut(plain_names(printable(text)), longest)


def short_names(names: Sequence[str]) -> list[str]:
    """Return `short` names of one axis; names that differ only by WordNet number, as both cranes, keep it."""
    counts = Counter(plain_names(name) for name in names)
    return [short(name) if counts[plain_names(name)] == 1 else _cut(printable(name), _LONGEST) for name in names]


def _cut(line: str, longest: int) -> str:
    if len(line) > longest:
        half = (longest - 1) // 2
        line = f"{line[: longest - 1 - half]}…{line[-half:]}"
    return line.replace("$", r"\$")


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Return a figure as a PNG file."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; a warning for each is not useful.
        warnings.filterwarnings("ignore", message=".*Glyph .* missing from", category=UserWarning)
        figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()
