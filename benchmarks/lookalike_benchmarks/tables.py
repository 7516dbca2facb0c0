"""Figures as text: Markdown tables for people, CSV with all columns for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from lookalike_benchmarks.targets import LabeledRow


def format_value(value: Any) -> str:
    """Format a value for people."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table and an empty line; [] without content."""
    if not lines:
        return []
    return [_line(head), "|---" + "|--:" * (len(head) - 1) + "|", *map(_line, lines), ""]


def comma_separated(rows: Sequence[LabeledRow]) -> str:
    """Format all rows as CSV, with a column for each parameter, measure, machine property and library version."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: LabeledRow) -> dict[str, Any]:
    groups = {"": "measured", "param ": "params", "machine ": "machine", "version ": "versions"}
    flat = {"case": row["case"]}
    for prefix, group in groups.items():
        flat |= {
            f"{prefix}{name}": json.dumps(value) if isinstance(value, list | dict) else value
            for name, value in row[group].items()
        }
    return {**flat, "note": row["note"], "command": row["command"]}


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
