"""Output of commands: aligned tables, the line about the server's reply, JSON."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import lookalike


def printable(text: str) -> str:
    """Escape characters that would move the cursor or color the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def width(text: str) -> int:
    """Return the number of terminal columns of a printable text."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format aligned columns, numbers to the right; None is "-", floats have four decimals."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(headers))]
    widths = [max(map(width, column)) for column in zip(headers, *cells, strict=True)]
    lines = []
    for line in [list(headers), *cells]:
        padded = [
            " " * (wide - width(cell)) + cell if right else cell + " " * (wide - width(cell))
            for cell, wide, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:z.4f}" if math.isfinite(value) else "-"
    return printable(str(value))


def served_lines(served: lookalike.Served, k: int = 10) -> str:
    """Format the line about a reply with k neighbors, and a line for each note, such as an untrained network."""
    if served.expected_recall == 1 and served.nprobe == 0:
        effort = ["exact"]
    elif served.nprobe:
        recall = "" if served.expected_recall is None else f" (recall@{k} {served.expected_recall:.3g})"
        effort = [f"nprobe {served.nprobe}{recall}"]
    else:
        effort = [] if served.expected_recall is None else [f"recall@{k} {served.expected_recall:.3g}"]
    space = [f"space {served.space}"] if served.space else []
    took = f"{served.timings.total_us / 1000:.1f} ms"
    told = [f"{served.collection} generation {served.generation}", *space, served.device, *effort, took]
    lines = ["served by " + ", ".join(map(printable, told)), *map(printable, served.notes)]
    return "\n".join(lines if served.pretrained else [*lines, UNTRAINED])


UNTRAINED = (
    "Untrained: the network's weights are random, so what it finds alike means nothing beyond color and texture."
)


def to_json(value: object) -> str:
    """Format standard JSON: NaN and infinity become null."""
    return json.dumps(_without_nan(value), indent=1, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
