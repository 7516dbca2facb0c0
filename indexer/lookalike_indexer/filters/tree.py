"""The expression of a filter as a tree of plain values.

Two trees are equal when they say the same, wherever that stood. `canonical`
gives trees that differ only in order or repetition one form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from lookalike_indexer.filters.errors import At, FilterError

# What a filter may have: levels, expressions, values of its lists, bytes of its text.
MOST_DEPTH = 32
MOST_NODES = 1_000
MOST_VALUES = 100_000
MOST_BYTES = 64 << 10

Value: TypeAlias = bool | int | float | str
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

_NOWHERE = At()


@dataclass(frozen=True)
class All:
    """True where all are; true everywhere when there is none."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Some:
    """True where one is; true nowhere when there is none."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    """True where the other is false, and unknown where it is unknown."""

    filter: Filter


@dataclass(frozen=True)
class Compare:
    column: str
    operator: Operator
    value: Value
    at: At = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class In:
    """True where a column has one of some values."""

    column: str
    values: tuple[Value, ...]
    at: At = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Has:
    """True where a column of lists has a text in it."""

    column: str
    value: str
    at: At = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Present:
    """True where a column has a value, otherwise false."""

    column: str
    at: At = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Bound:
    """A comparison with a number."""

    operator: Operator
    value: float


@dataclass(frozen=True)
class InCluster:
    """True where an image is in one of some clusters (any, when there is none) of a clustering, "" the current one.

    With `distance`, and is so far from its centroid. Unknown where the clustering does not have the image.
    """

    clustering: str
    clusters: tuple[int, ...] = ()
    distance: Bound | None = None
    at: At = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Predicted:
    """True where a model's most probable class is one of some classes (any, when there is none).

    With `probability`, and is so probable. The model "" is the one that the filter names elsewhere, or else that of
    the default space. Unknown where there is no prediction.
    """

    model: str
    classes: tuple[str, ...] = ()
    probability: Bound | None = None
    at: At = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Assigned:
    """True where a clustering has the image, otherwise false."""

    clustering: str
    at: At = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class HasPrediction:
    """True where a model has a prediction of the image, otherwise false."""

    model: str
    at: At = field(default=_NOWHERE, compare=False, repr=False)


Leaf: TypeAlias = Compare | In | Has | Present | InCluster | Predicted | Assigned | HasPrediction
Filter: TypeAlias = All | Some | Not | Leaf

# The comparison that is true where another one is false.
OPPOSITE: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
# The comparison with both sides exchanged.
MIRRORED: dict[Operator, Operator] = {"=": "=", "!=": "!=", "<": ">", ">=": "<=", ">": "<", "<=": ">="}


class Budget:
    """Counts what a filter has while it is read; FilterError beyond what it may have."""

    def __init__(self) -> None:
        self._nodes = self._values = 0

    def node(self, depth: int, at: At) -> None:
        """Another expression, so many levels below the first."""
        self._nodes += 1
        if depth > MOST_DEPTH:
            raise FilterError(at, f"The filter has more than {MOST_DEPTH} levels; write it with fewer")
        if self._nodes > MOST_NODES:
            raise FilterError(at, f"The filter has more than {MOST_NODES:,} expressions; use a list: x in (...)")

    def values(self, count: int, at: At) -> None:
        """So many values of a list."""
        self._values += count
        if self._values > MOST_VALUES:
            raise FilterError(at, f"The filter has more than {MOST_VALUES:,} values; attach them as an attribute")


def leaves(tree: Filter) -> Iterator[Leaf]:
    """The expressions that have no others within them."""
    if isinstance(tree, (All, Some)):
        for one in tree.filters:
            yield from leaves(one)
    elif isinstance(tree, Not):
        yield from leaves(tree.filter)
    else:
        yield tree


def canonical(tree: Filter) -> Filter:
    """The same filter with parts in a fixed order, nested ones joined, and repetitions left out."""
    if isinstance(tree, Not):
        inner = canonical(tree.filter)
        return inner.filter if isinstance(inner, Not) else Not(inner)
    if isinstance(tree, (All, Some)):
        kind = type(tree)
        parts: dict[str, Filter] = {}
        for one in map(canonical, tree.filters):
            for part in one.filters if isinstance(one, kind) else (one,):
                parts[repr(part)] = part
        ordered = tuple(parts[key] for key in sorted(parts))
        return ordered[0] if len(ordered) == 1 else kind(ordered)
    if isinstance(tree, In):
        return dataclasses.replace(tree, values=tuple(sorted(set(tree.values), key=_order)))
    if isinstance(tree, InCluster):
        return dataclasses.replace(tree, clusters=tuple(sorted(set(tree.clusters))))
    if isinstance(tree, Predicted):
        return dataclasses.replace(tree, classes=tuple(sorted(set(tree.classes))))
    return tree


def _order(value: Value) -> tuple[str, Value]:
    return type(value).__name__, value
