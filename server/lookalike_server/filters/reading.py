"""Parsing of a Filter message to a tree. Errors name the path of the field."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lookalike.v1 import filter_pb2
from lookalike_indexer.filters.errors import FilterError, FilterPosition
from lookalike_indexer.filters.text import parse
from lookalike_indexer.filters.tree import (
    AllOf,
    AnyOf,
    Assigned,
    Bound,
    Budget,
    Compare,
    Filter,
    Has,
    HasPrediction,
    In,
    InCluster,
    Not,
    Operator,
    Predicted,
    Present,
    Value,
)
from lookalike_server.common.errors import ArgumentError

_OPERATORS: dict[int, Operator] = {
    filter_pb2.OPERATOR_EQUAL: "=",
    filter_pb2.OPERATOR_NOT_EQUAL: "!=",
    filter_pb2.OPERATOR_LESS: "<",
    filter_pb2.OPERATOR_LESS_OR_EQUAL: "<=",
    filter_pb2.OPERATOR_GREATER: ">",
    filter_pb2.OPERATOR_GREATER_OR_EQUAL: ">=",
}


def read(message: filter_pb2.Filter, field: str = "filter") -> Filter:
    """Return the tree of a message. Raises FilterError if it is empty or exceeds the limits of a filter."""
    return _Reader(Budget()).read(message, field, 1)


def refused(error: FilterError) -> ArgumentError:
    """Return a filter's error as that of a field of the request."""
    return ArgumentError(error.at.field, str(error))


class _Reader:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._leaves: dict[str, Callable[[Any, str], Filter]] = {
            "compare": _compare,
            "in": self._in,
            "has": lambda one, field: Has(_column(one.column, field), one.text, FilterPosition(field)),
            "present": _present,
            "in_cluster": self._in_cluster,
            "predicted": self._predicted,
        }

    def read(self, message: filter_pb2.Filter, field: str, depth: int) -> Filter:
        kind = message.WhichOneof("kind")
        if kind is None:
            raise FilterError(FilterPosition(field), "The filter is empty; omit it, or set one of its fields")
        if kind == "text":
            return parse(message.text, f"{field}.text", self._budget, depth)
        at = f"{field}.{kind}"
        self._budget.node(depth, FilterPosition(at))
        # "not" and "in" are keywords in Python.
        inner: Any = getattr(message, kind)
        if kind == "not":
            return Not(self.read(inner, at, depth + 1))
        if kind in ("all", "any"):
            parts = tuple(
                self.read(one, f"{at}.filters[{place}]", depth + 1) for place, one in enumerate(inner.filters)
            )
            return AllOf(parts) if kind == "all" else AnyOf(parts)
        return self._leaves[kind](inner, at)

    def _in(self, message: filter_pb2.In, field: str) -> Filter:
        for number in message.numbers:
            _checked(number, f"{field}.numbers")
        values: tuple[Value, ...] = (*message.texts, *message.integers, *message.numbers)
        self._budget.values(len(values), FilterPosition(field))
        return In(_column(message.column, field), values, FilterPosition(field))

    def _in_cluster(self, message: filter_pb2.InCluster, field: str) -> Filter:
        self._budget.values(len(message.clusters), FilterPosition(field))
        distance = _bound(message.distance, f"{field}.distance") if message.HasField("distance") else None
        return InCluster(message.clustering, tuple(message.clusters), distance, FilterPosition(field))

    def _predicted(self, message: filter_pb2.Predicted, field: str) -> Filter:
        self._budget.values(len(message.classes), FilterPosition(field))
        bound = _bound(message.probability, f"{field}.probability") if message.HasField("probability") else None
        return Predicted(message.model, tuple(message.classes), bound, FilterPosition(field))


def _compare(message: filter_pb2.Compare, field: str) -> Filter:
    value = message.value
    kind = value.WhichOneof("kind")
    if kind is None:
        raise FilterError(FilterPosition(f"{field}.value"), "A comparison needs a value; set one of its fields")
    found: Value = getattr(value, kind)
    if isinstance(found, float):
        _checked(found, f"{field}.value.number")
    return Compare(_column(message.column, field), _operator(message.operator, field), found, FilterPosition(field))


def _present(message: filter_pb2.Present, field: str) -> Filter:
    kind = message.WhichOneof("of")
    if kind == "clustering":
        return Assigned(message.clustering, FilterPosition(field))
    if kind == "model":
        return HasPrediction(message.model, FilterPosition(field))
    return Present(_column(message.column, field), FilterPosition(field))


def _bound(message: filter_pb2.Bound, field: str) -> Bound:
    return Bound(_operator(message.operator, field), _checked(message.value, f"{field}.value"))


def _operator(number: int, field: str) -> Operator:
    if number not in _OPERATORS:
        raise FilterError(FilterPosition(f"{field}.operator"), "A comparison needs an operator, such as OPERATOR_LESS")
    return _OPERATORS[number]


def _checked(number: float, field: str) -> float:
    if math.isnan(number):
        raise FilterError(FilterPosition(field), "Nothing compares with NaN; give a number")
    return number


def _column(name: str, field: str) -> str:
    if not name:
        raise FilterError(FilterPosition(f"{field}.column"), "The filter names no column")
    return name
