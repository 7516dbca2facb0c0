"""Output of experiments: text with the first rows of each table, JSON, or CSV of one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

import lookalike
from lookalike._metrics import heading
from lookalike.cli._fields import to_csv
from lookalike.cli._text import printable, table


def as_data(found: lookalike.Experiment) -> dict[str, Any]:
    """Convert an experiment to the JSON data that the commands for folders print."""
    return {
        "kind": found.kind,
        "settings": dict(found.settings),
        "figures": dict(found.figures),
        "findings": list(found.findings),
        "tables": {name: columns.records() for name, columns in found.tables.items()},
    }


def shown(found: Mapping[str, Any], rows: int) -> str:
    """Format the findings, the figures, and the first `rows` rows of each table of `as_data`."""
    parts = ["\n".join(map(printable, found["findings"]))] if found["findings"] else []
    metric = found["settings"].get("metric")
    if found["figures"]:
        figures = [(heading(figure, metric), value) for figure, value in found["figures"].items()]
        parts.append(table(("figure", "value"), figures))
    for name, records in found["tables"].items():
        parts.append(f"{printable(name)}, {len(records)} row{'' if len(records) == 1 else 's'}:")
        if records and rows:
            cells = [[cell(value) for value in record.values()] for record in records[:rows]]
            parts[-1] += "\n" + table([heading(column, metric) for column in records[0]], cells)
        if len(records) > rows:
            parts[-1] += f"\n... and {len(records) - rows} more; --rows and --json show them."
    return "\n\n".join(parts)


def table_as_csv(found: lookalike.Experiment, name: str) -> str:
    """Format one table as CSV, with a header even if it is empty. click.UsageError: the result has no such table."""
    if name not in found.tables:
        raise click.UsageError(f"The result has no table {name!r}; it has {', '.join(found.tables) or 'none'}.")
    columns = found.tables[name]
    return to_csv(list(columns), columns.records())


def cell(value: object) -> str:
    """Format a value for a table of text."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
