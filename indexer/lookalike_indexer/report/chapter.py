"""Chapter of the report: the result of one experiment as texts, tables and drawings."""

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
    """A table as texts; `numeric` marks the columns of numbers, `left` counts the omitted rows."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    left: int


@dataclass(frozen=True)
class Chapter:
    """The page's content for an experiment. With `missing`, the sentence why it was not made, everything else is empty.

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
    """The result of an experiment, the columns of its tables to show, and its drawings with captions.

    `left_out` are sentences about what could not be drawn.
    """

    result: Result
    tables: Mapping[str, Sequence[str]]
    pictures: Sequence[tuple[str, Picture]] = ()
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """The plan of a chapter: its number and title, the equivalent command, its subject, and its function."""

    number: int
    title: str
    command: str
    about: str
    make: Callable[[Any], Content]


def chapter(plan: Plan, context: Any) -> Chapter:
    """Make a chapter, or state why it is impossible or what failed, without affecting other chapters."""
    try:
        return _chapter_of(plan, plan.make(context))
    except IndexerError as error:
        missing = str(error)
    except Exception as error:
        log.exception("the chapter %d of the report failed", plan.number)
        missing = (
            f"it failed with {type(error).__name__}: {error}. This is a fault of Lookalike; please report it. "
            f"Try {plan.command} by itself."
        )
    return Chapter(plan.number, plan.title, plan.command, plan.about, missing=missing)


def _chapter_of(plan: Plan, made: Content) -> Chapter:
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
    """Return some columns of a table's first rows, as texts; the headings of distances name the `metric`."""
    chosen = table.select(list(columns)).slice(0, most)
    texts = [_texts(chosen.column(column).to_pylist()) for column in columns]
    numeric = [types.is_integer(kind) or types.is_floating(kind) for kind in chosen.schema.types]
    rows = [list(row) for row in zip(*texts, strict=True)]
    return Grid(title, [heading(column, metric) for column in columns], rows, numeric, max(0, table.num_rows - most))


def _texts(values: list[Any]) -> list[str]:
    """Return the values of a column as texts; numbers below 1,000 have the same number of decimals, for alignment."""
    numbers = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    if not numbers or max(map(abs, numbers)) >= 1000:
        return [text(value) for value in values]
    return [f"{value:z.3f}" if isinstance(value, float) and math.isfinite(value) else text(value) for value in values]


def text(value: Any) -> str:
    """Return a value as text for display."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        return ", ".join(text(each) for each in value)
    return str(value)
