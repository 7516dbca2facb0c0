"""What charts have in common: labels taken literally, PNG files that do not depend on the day."""

from __future__ import annotations

import io
import warnings

from matplotlib.figure import Figure

from lookalike_indexer.text import plain_names, printable

# Longer names would push the chart out of its picture.
_LONGEST = 32


def short(text: str, longest: int = _LONGEST) -> str:
    """A name for an axis or legend: one line, a dollar sign only a dollar sign.

    When too long, WordNet numbers go, then its middle: names of spaces differ
    at their end, others at their beginning.
    """
    line = printable(text)
    line = line if len(line) <= longest else plain_names(line)
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
