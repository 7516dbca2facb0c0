"""Rows of results as Markdown tables: one for each set of measured columns, with the parameters that differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lookalike_benchmarks.targets import LabelledRow


def tables(rows: Sequence[LabelledRow]) -> list[str]:
    """The lines of all tables of one suite, and after them what could not be measured."""
    lines: list[str] = []
    for group in _groups([row for row in rows if row["measured"]]):
        lines += [*_table(group), ""]
    missing = [row for row in rows if not row["measured"]]
    if missing:
        lines += ["Not measured:", "", *(f"- {row['case']}: {row['note']}" for row in missing), ""]
    return lines


def told(value: Any) -> str:
    """A value as people read it."""
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


def _groups(rows: Sequence[LabelledRow]) -> list[list[LabelledRow]]:
    """The rows by what was measured, in the order of each group's first row."""
    groups: dict[tuple[str, ...], list[LabelledRow]] = {}
    for row in rows:
        groups.setdefault(tuple(row["measured"]), []).append(row)
    return list(groups.values())


def _table(rows: Sequence[LabelledRow]) -> list[str]:
    shared, differing = _parameters(rows)
    measured = list(rows[0]["measured"])
    # A column that only repeats what the cases say is no help.
    notes = ["note"] if any(row["note"] for row in rows) else []
    lines = [f"With {', '.join(f'{name} {told(value)}' for name, value in shared.items())}:", ""] if shared else []
    lines.append(_line(["case", *differing, *(f"**{name}**" for name in measured), *notes]))
    lines.append("|---" + "|---" * len(differing) + "|--:" * len(measured) + "|---" * len(notes) + "|")
    for row in rows:
        cells = [row["case"], *(row["params"].get(name) for name in differing)]
        cells += [row["measured"][name] for name in measured]
        lines.append(_line([told(cell) for cell in cells] + [told(row["note"]) for _ in notes]))
    return lines


def _parameters(rows: Sequence[LabelledRow]) -> tuple[dict[str, Any], list[str]]:
    """The parameters that are the same in all rows, and the names of the others."""
    names = list(dict.fromkeys(name for row in rows for name in row["params"]))
    first = rows[0]["params"]
    shared = {
        name: first[name]
        for name in names
        if name in first and all(name in row["params"] and row["params"][name] == first[name] for row in rows)
    }
    return shared, [name for name in names if name not in shared]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
