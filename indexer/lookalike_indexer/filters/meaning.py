"""Resolution of a filter for a collection: checks that its columns exist and its values have their types."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import pyarrow as pa

from lookalike_indexer.attributes.inference import from_text
from lookalike_indexer.filters.columns import Kind
from lookalike_indexer.filters.errors import FilterError, FilterPosition
from lookalike_indexer.filters.sources import FilterColumns
from lookalike_indexer.filters.tree import (
    AllOf,
    AnyOf,
    Assigned,
    Compare,
    Filter,
    Has,
    HasPrediction,
    In,
    InCluster,
    Leaf,
    Not,
    Predicted,
    Present,
    Value,
    leaves,
)
from lookalike_indexer.text import did_you_mean

_VALUES: dict[Kind, str] = {
    "bool": "true or false",
    "int64": "a number",
    "float64": "a number",
    "string": "a text in single quotes",
    "timestamp": "a time in single quotes, such as '2026-01-31' or '2026-01-31 12:00'",
    "list<string>": "a text in single quotes",
}


def resolve_names(tree: Filter, columns: FilterColumns) -> Filter:
    """Return the filter with full names, and times as microseconds.

    Raise FilterError if there is no such column, or a value has another type. Raise NotFoundError or NotBuiltError if a
    clustering, model or space does not exist.
    """
    named = {
        columns.model(one.model) for one in leaves(tree) if isinstance(one, (Predicted, HasPrediction)) and one.model
    }
    return _Meaning(columns, named).resolve(tree)


class _Meaning:
    def __init__(self, columns: FilterColumns, models: set[str]) -> None:
        self._columns, self._models = columns, models

    def resolve(self, tree: Filter) -> Filter:
        if isinstance(tree, (AllOf, AnyOf)):
            return type(tree)(tuple(map(self.resolve, tree.filters)))
        if isinstance(tree, Not):
            return Not(self.resolve(tree.filter))
        return self._leaf(tree)

    def _leaf(self, leaf: Leaf) -> Leaf:
        if isinstance(leaf, (InCluster, Assigned)):
            return dataclasses.replace(leaf, clustering=self._columns.clustering(leaf.clustering))
        if isinstance(leaf, (Predicted, HasPrediction)):
            return dataclasses.replace(leaf, model=self._model(leaf.model, leaf.at))
        kind = self._kind(leaf.column, leaf.at)
        if isinstance(leaf, Present):
            return leaf
        if isinstance(leaf, Has):
            if kind != "list<string>":
                raise FilterError(
                    leaf.at, f"The column {leaf.column!r} is {kind}; only a list has texts: {_use(leaf.column, kind)}"
                )
            return leaf
        if kind == "list<string>":
            raise FilterError(
                leaf.at, f"The column {leaf.column!r} is a list, which is not compared; write: {leaf.column} has 'text'"
            )
        if isinstance(leaf, Compare):
            if kind == "bool" and leaf.operator not in ("=", "!="):
                raise FilterError(leaf.at, f"The column {leaf.column!r} is true or false; compare it with = or !=")
            return dataclasses.replace(leaf, value=_value(leaf.value, kind, leaf.column, leaf.at))
        return dataclasses.replace(leaf, values=tuple(_values(leaf, kind)))

    def _kind(self, name: str, at: FilterPosition) -> Kind:
        kind = self._columns.kinds.get(name)
        if kind is None:
            those = did_you_mean(name, self._columns.kinds, "the columns are")
            raise FilterError(at, f"There is no column {name!r}{those}")
        return kind

    def _model(self, name: str, at: FilterPosition) -> str:
        if not name and len(self._models) > 1:
            raise FilterError(
                at,
                f"The filter names several models, {', '.join(sorted(self._models))}; say which one is meant, such as "
                f"in: probability('{min(self._models)}') > 0.5",
            )
        if not name and self._models:
            return next(iter(self._models))
        return self._columns.model(name)


def _values(leaf: In, kind: Kind) -> Iterable[Value]:
    for value in leaf.values:
        yield _value(value, kind, leaf.column, leaf.at)


def _value(value: Value, kind: Kind, column: str, at: FilterPosition) -> Value:
    is_text, is_flag = isinstance(value, str), isinstance(value, bool)
    if kind == "bool":
        fits = is_flag
    elif kind in ("int64", "float64"):
        # NaN has no order.
        fits = not is_text and not is_flag and not (isinstance(value, float) and math.isnan(value))
    else:
        fits = is_text
    if not fits:
        raise FilterError(
            at, f"The column {column!r} is {kind}; it is compared with {_VALUES[kind]}, not with {value!r}"
        )
    if kind == "timestamp":
        try:
            time = from_text(pa.array([value], pa.string()), "timestamp")
        except (pa.ArrowException, ValueError) as error:
            raise FilterError(
                at, f"The column {column!r} is a timestamp; it is compared with {_VALUES[kind]}, not with {value!r}"
            ) from error
        return int(time.cast(pa.int64())[0].as_py())
    return value


def _use(column: str, kind: Kind) -> str:
    return f"write: {column} = {'...' if kind != 'string' else chr(39) + 'text' + chr(39)}"
