"""Filters and attribute columns: their options and the output of their values."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

where_option = click.option(
    "--where",
    metavar="FILTER",
    help="Only images that match, such as: \"label in ('cat', 'dog') and price < 20\".",
)
fields_option = click.option(
    "--fields",
    default="",
    metavar="A,B,...|all",
    help="Show these columns of each image, or all attributes of the collection.",
)


def names_of(text: str) -> list[str]:
    """Parse the columns of --fields; ["*"] for all attributes."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return ["*"] if names == ["all"] else names


def plain(value: Any) -> Any:
    """Convert a value for JSON: a time becomes text."""
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, dt.datetime) else value


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a result with its attributes as columns."""
    attributes = {name: plain(value) for name, value in row.get("attributes", {}).items()}
    return {**{name: value for name, value in row.items() if name != "attributes"}, **attributes}


def shown(value: Any) -> Any:
    """Format a value for a table of text."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, dt.datetime) else value


def to_csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Format rows as CSV for `lookalike attach`: an empty cell for no value, JSON for a list."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return written.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value
