"""Filter expression as a tree of plain values.

Two trees are equal if they have the same content, whatever their positions in the text. `canonical` maps trees that
differ only in order or repetition to the same form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from lookalike_indexer.filters.errors import FilterError, FilterPosition

# The limits of a filter: levels, expressions, values of its lists, bytes of its text.
MOST_DEPTH = 32
MOST_NODES = 1_000
MOST_VALUES = 100_000
MOST_BYTES = 64 << 10

Value: TypeAlias = bool | int | float | str
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

_NOWHERE = FilterPosition()


@dataclass(frozen=True)
class AllOf:
    """A conjunction: true if all parts are true; an empty one is true for every image."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class AnyOf:
    """A disjunction: true if any part is true; an empty one is true for no image."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    """A negation: true if the inner filter is false, and unknown if it is unknown."""

    filter: Filter


@dataclass(frozen=True)
class Compare:
    column: str
    operator: Operator
    value: Value
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class In:
    """A condition that is true if a column has one of some values."""

    column: str
    values: tuple[Value, ...]
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Has:
    """A condition that is true if a list column contains a string."""

    column: str
    value: str
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Present:
    """A condition that is true if a column has a value, otherwise false."""

    column: str
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Bound:
    """A comparison with a number."""

    operator: Operator
    value: float


@dataclass(frozen=True)
class InCluster:
    """A condition that is true if an image is in one of some clusters (any if empty) of a clustering, "" for the
    current one.

    With `distance`, its distance to the centroid must satisfy the bound too. Unknown if the clustering lacks the image.
    """

    clustering: str
    clusters: tuple[int, ...] = ()
    distance: Bound | None = None
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Predicted:
    """A condition that is true if a model's most probable class is one of some classes (any if empty).

    With `probability`, its probability must satisfy the bound too. The model "" is the one that the filter names
    elsewhere, or else that of the default space. Unknown if there is no prediction.
    """

    model: str
    classes: tuple[str, ...] = ()
    probability: Bound | None = None
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Assigned:
    """A condition that is true if a clustering has the image, otherwise false."""

    clustering: str
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class HasPrediction:
    """A condition that is true if a model has a prediction for the image, otherwise false."""

    model: str
    at: FilterPosition = field(default=_NOWHERE, compare=False, repr=False)


Leaf: TypeAlias = Compare | In | Has | Present | InCluster | Predicted | Assigned | HasPrediction
Filter: TypeAlias = AllOf | AnyOf | Not | Leaf

# The comparison that is true if another one is false.
OPPOSITE: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
# The comparison with both sides exchanged.
MIRRORED: dict[Operator, Operator] = {"=": "=", "!=": "!=", "<": ">", ">=": "<=", ">": "<", "<=": ">="}


class Budget:
    """Counts the size of a filter during parsing. Raise FilterError if a limit is exceeded."""

    def __init__(self) -> None:
        self._nodes = self._values = 0

    def node(self, depth: int, at: FilterPosition) -> None:
        """Count another expression at this depth."""
        self._nodes += 1
        if depth > MOST_DEPTH:
            raise FilterError(at, f"The filter has more than {MOST_DEPTH} levels; write it with fewer")
        if self._nodes > MOST_NODES:
            raise FilterError(at, f"The filter has more than {MOST_NODES:,} expressions; use a list: x in (...)")

    def values(self, count: int, at: FilterPosition) -> None:
        """Count the values of a list."""
        self._values += count
        if self._values > MOST_VALUES:
            raise FilterError(at, f"The filter has more than {MOST_VALUES:,} values; attach them as an attribute")


def leaves(tree: Filter) -> Iterator[Leaf]:
    """Yield the expressions without nested expressions."""
    if isinstance(tree, (AllOf, AnyOf)):
        for one in tree.filters:
            yield from leaves(one)
    elif isinstance(tree, Not):
        yield from leaves(tree.filter)
    else:
        yield tree


def canonical(tree: Filter) -> Filter:
    """Return an equivalent filter with sorted parts, nested ones joined, and repetitions removed."""
    if isinstance(tree, Not):
        inner = canonical(tree.filter)
        return inner.filter if isinstance(inner, Not) else Not(inner)
    if isinstance(tree, (AllOf, AnyOf)):
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
