"""Conversion of a tree to equivalent text, for display and for the plan of a reply."""

from __future__ import annotations

import re

from lookalike_indexer.filters.text import FUNCTIONS, WORDS
from lookalike_indexer.filters.tree import (
    AllOf,
    AnyOf,
    Assigned,
    Bound,
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
)

# The words of text.py, which have another meaning there.
_WORD = re.compile(r"[^\W\d]\w*")
_TAKEN = frozenset({*WORDS, *FUNCTIONS, "date", "timestamp"})


def as_text(tree: Filter, most: int | None = None) -> str:
    """Return the text of a filter; of each list the first `most` values, all for None."""
    return _TextWriter(most).text(tree, within=False)


class _TextWriter:
    def __init__(self, most: int | None) -> None:
        self._most = most

    def text(self, tree: Filter, within: bool) -> str:
        if isinstance(tree, Not):
            return f"not {self.text(tree.filter, within=True)}"
        if isinstance(tree, (AllOf, AnyOf)):
            if not tree.filters:
                # The language has no empty list; every image has an id.
                return "id is not null" if isinstance(tree, AllOf) else "id is null"
            word = " and " if isinstance(tree, AllOf) else " or "
            joined = word.join(self.text(one, within=True) for one in tree.filters)
            return f"({joined})" if within else joined
        text = self._leaf(tree)
        return f"({text})" if within and " and " in text else text

    def _leaf(self, leaf: Leaf) -> str:
        if isinstance(leaf, InCluster):
            subject = _call("cluster", leaf.clustering)
            among = self._among(subject, leaf.clusters)
            return _both(among, _bound(_call("distance", leaf.clustering), leaf.distance), f"{subject} is not null")
        if isinstance(leaf, Predicted):
            subject = _call("predicted", leaf.model)
            among = self._among(subject, leaf.classes)
            return _both(among, _bound(_call("probability", leaf.model), leaf.probability), f"{subject} is not null")
        if isinstance(leaf, Assigned):
            return f"{_call('cluster', leaf.clustering)} is not null"
        if isinstance(leaf, HasPrediction):
            return f"{_call('predicted', leaf.model)} is not null"
        name = _name(leaf.column)
        if isinstance(leaf, Compare):
            return f"{name} {leaf.operator} {_value(leaf.value)}"
        if isinstance(leaf, In):
            return self._among(name, leaf.values) or "id is null"
        if isinstance(leaf, Has):
            return f"{name} has {_value(leaf.value)}"
        assert isinstance(leaf, Present)  # noqa: S101  # nosec B101
        return f"{name} is not null"

    def _among(self, subject: str, values: tuple[Value, ...]) -> str:
        if not values:
            return ""
        if len(values) == 1:
            return f"{subject} = {_value(values[0])}"
        shown = ", ".join(map(_value, values[: self._most]))
        left = 0 if self._most is None else len(values) - self._most
        return f"{subject} in ({shown}{f', and {left:,} more' if left > 0 else ''})"


def _call(function: str, argument: str) -> str:
    return f"{function}({_value(argument)})" if argument else function


def _bound(subject: str, bound: Bound | None) -> str:
    return "" if bound is None else f"{subject} {bound.operator} {_value(bound.value)}"


def _both(one: str, other: str, neither: str) -> str:
    return f"{one} and {other}" if one and other else one or other or neither


def _name(name: str) -> str:
    if _WORD.fullmatch(name) and name.lower() not in _TAKEN:
        return name
    return '"' + name.replace('"', '""') + '"'


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
