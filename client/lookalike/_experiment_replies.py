"""Convert replies of experiments to results; ValueError if a reply contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike import wire
from lookalike._experiments import Attribution, Experiment, Setting, StoredResult, StoredResults, Table
from lookalike._notebook.frames import Column
from lookalike._paging import Page
from lookalike._replies import served
from lookalike.v1 import experiment_pb2, types_pb2


def experiment(message: experiment_pb2.ExperimentResult, by: types_pb2.Served, out_of_date: bool = False) -> Experiment:
    settings = _settings(message)
    return Experiment(
        kind=message.kind,
        settings=settings,
        tables={table.name: _table(table, settings.get("metric")) for table in message.tables},
        figures={figure.name: figure.value for figure in message.figures},
        findings=tuple(message.findings),
        served=served(by),
        out_of_date=out_of_date,
    )


def attribution(reply: experiment_pb2.GetAttributionResponse) -> Attribution:
    known = reply.probability == reply.probability  # not NaN
    return Attribution(
        reply.png, reply.class_index, reply.class_name, reply.probability if known else None, served(reply.served)
    )


def stored(reply: experiment_pb2.ListResultsResponse) -> StoredResults:
    return StoredResults(
        StoredResult(
            name=each.name,
            kind=each.result.kind,
            settings=_settings(each.result),
            tables={table.name: table.rows for table in each.tables},
            figures={figure.name: figure.value for figure in each.result.figures},
            findings=tuple(each.result.findings),
            out_of_date=each.out_of_date,
        )
        for each in reply.results
    )


def result_page(reply: experiment_pb2.GetResultResponse) -> Page[Any]:
    """Read a page of a stored result; its items are an Experiment with some rows of each table."""
    items = experiment(reply.result, reply.served, reply.out_of_date)
    return Page(items, reply.total, reply.next_page_token, items.served)


def joined(pages: Iterable[Page[Any]]) -> Experiment:
    """Join all pages of a stored result."""
    parts: list[Experiment] = [page.items for page in pages]
    first = parts[0]
    tables = {name: _beneath([part.tables[name] for part in parts]) for name in first.tables}
    whole = replace(first, tables=tables)
    whole._illustrate(first._source)
    return whole


def _settings(message: experiment_pb2.ExperimentResult) -> dict[str, Setting]:
    return {setting.name: _setting(setting.value) for setting in message.settings}


def _setting(value: experiment_pb2.SettingValue) -> Any:
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    return [_setting(each) for each in value.list.values] if kind == "list" else getattr(value, kind)


def _table(message: experiment_pb2.Table, metric: Setting) -> Table:
    columns = {column.name: _column(column, message.rows) for column in message.columns}
    return Table(message.rows, columns, metric)


def _column(message: experiment_pb2.Column, rows: int) -> Column:
    nulls = wire.decode(message.nulls) if message.HasField("nulls") else np.empty(0, np.int64)
    _require(nulls.dtype == np.int64 and nulls.ndim == 1, "the rows without a value are no list of numbers")
    _require(bool(((nulls >= 0) & (nulls < rows)).all()), "a null value names a row out of range")
    if message.HasField("offsets"):
        return _lists(message, rows, nulls)
    column = _values(message)
    _require(len(column) == rows, f"the column {message.name} has {len(column)} values for {rows} rows")
    if len(nulls) and isinstance(column, tuple):
        texts: list[Any] = list(column)
        for row in nulls.tolist():
            texts[row] = None
        return tuple(texts)
    if len(nulls) and isinstance(column, np.ndarray) and column.dtype.kind != "f":
        column = column.astype(np.float64)
        column[nulls] = np.nan
        column.setflags(write=False)
    return column


def _lists(message: experiment_pb2.Column, rows: int, nulls: npt.NDArray[Any]) -> tuple[Any, ...]:
    values = _values(message)
    offsets = wire.decode(message.offsets)
    right = offsets.shape == (rows + 1,) and offsets.dtype == np.int64 and offsets[0] == 0
    _require(right and offsets[-1] == len(values) and bool((np.diff(offsets) >= 0).all()), "lists overlap or are short")
    bounds = offsets.tolist()
    lists: list[Any] = [values[start:stop] for start, stop in pairwise(bounds)]
    for row in nulls.tolist():
        lists[row] = None
    return tuple(lists)


def _values(message: experiment_pb2.Column) -> Column:
    kind = message.WhichOneof("values")
    _require(kind is not None, f"the column {message.name} has an unknown type")
    if kind == "texts":
        return tuple(message.texts.values)
    numbers = wire.decode(message.numbers)
    _require(numbers.ndim in (1, 2), f"the column {message.name} has the shape {numbers.shape}")
    return numbers


def _beneath(tables: Sequence[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    columns = {
        name: _joined_column([table[name] for table in tables if table.rows] or [tables[0][name]]) for name in tables[0]
    }
    return Table(sum(table.rows for table in tables), columns, tables[0].metric)


def _joined_column(columns: Sequence[Column]) -> Column:
    if isinstance(columns[0], np.ndarray):
        whole = np.concatenate([np.asarray(column) for column in columns])
        whole.setflags(write=False)
        return whole
    return tuple(value for column in columns for value in column)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
