"""A chapter of the report: what one experiment found, as texts, tables and pictures."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import types

from lookalike_indexer.collection.metrics import heading
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.report.inline import Picture, inlined

_ROWS = 40

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grid:
    """A table as texts; `numeric` says which columns hold numbers, `left` counts the rows that are left out."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    left: int


@dataclass(frozen=True)
class Chapter:
    """What the page shows of an experiment. With `missing`, the sentence that says why it was not made, nothing else.

    `pictures` are captions and data URIs.
    """

    number: int
    title: str
    command: str
    about: str
    missing: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    grids: list[Grid] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Content:
    """An experiment's result, the columns of its tables that are worth a look, and its pictures with captions.

    `left_out` are sentences about what could not be drawn.
    """

    result: Result
    tables: Mapping[str, Sequence[str]]
    pictures: Sequence[tuple[str, Picture]] = ()
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """A chapter to be: its number and title, the command that makes the same, what it is about, and how it is made."""

    number: int
    title: str
    command: str
    about: str
    make: Callable[[Any], Content]


def chapter(plan: Plan, context: Any) -> Chapter:
    """Make a chapter, or say why the collection does not allow it, or what failed: that costs no other chapter."""
    try:
        return _made(plan, plan.make(context))
    except IndexerError as error:
        missing = str(error)
    except Exception as error:
        log.exception("the chapter %d of the report failed", plan.number)
        missing = (
            f"it failed with {type(error).__name__}: {error}. This is a fault of Lookalike; please report it. "
            f"Try {plan.command} by itself."
        )
    return Chapter(plan.number, plan.title, plan.command, plan.about, missing=missing)


def _made(plan: Plan, made: Content) -> Chapter:
    result = made.result
    return Chapter(
        plan.number,
        plan.title,
        plan.command,
        plan.about,
        settings={name: text(value) for name, value in result.settings.items() if value not in ("", None, [])},
        figures={name: text(value) for name, value in result.figures.items()},
        findings=(*result.findings, *made.left_out),
        grids=[
            grid(name, result.tables[name], columns, metric=result.settings.get("metric"))
            for name, columns in made.tables.items()
            if len(result.tables[name])
        ],
        pictures=[(caption, inlined(picture)) for caption, picture in made.pictures],
    )


def grid(title: str, table: pa.Table, columns: Sequence[str], most: int = _ROWS, metric: object = "") -> Grid:
    """Some columns of a table's first rows, as texts; the headings of distances name the `metric`."""
    chosen = table.select(list(columns)).slice(0, most)
    texts = [_texts(chosen.column(column).to_pylist()) for column in columns]
    numeric = [types.is_integer(kind) or types.is_floating(kind) for kind in chosen.schema.types]
    rows = [list(row) for row in zip(*texts, strict=True)]
    return Grid(title, [heading(column, metric) for column in columns], rows, numeric, max(0, table.num_rows - most))


def _texts(values: list[Any]) -> list[str]:
    """The values of a column; numbers below 1,000 have the same number of decimals, so that they align."""
    numbers = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    if not numbers or max(map(abs, numbers)) >= 1000:
        return [text(value) for value in values]
    return [f"{value:z.3f}" if isinstance(value, float) and math.isfinite(value) else text(value) for value in values]


def text(value: Any) -> str:
    """A value as a person reads it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"  # noqa: RUF001 - a dash that looks like one
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        return ", ".join(text(each) for each in value)
    return str(value)
