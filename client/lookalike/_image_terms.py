"""Filter terms besides columns: the cluster of an image, and the class that a model predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from lookalike._errors import InvalidArgumentError
from lookalike._filters import SIGNS, Comparable, Filter, Value, checked_text, filter_from, plain_value, several
from lookalike._queries import as_int
from lookalike.v1 import filter_pb2


class _Number(Comparable):
    """A number to compare: `field` names the filter's message and `bound` the field of the number in it."""

    def __init__(self, message: type[Any], field: str, bound: str, name: dict[str, str]) -> None:
        self._message, self._field, self._bound, self._name = message, field, bound, name

    def is_null(self) -> Filter:
        """Return a filter for images without a number."""
        return ~filter_from(present=filter_pb2.Present(**self._name))

    def _compared(self, sign: str, value: Value) -> Filter:
        plain = plain_value(value)
        if isinstance(plain, (bool, str)):
            raise InvalidArgumentError(f"A {self._bound} is compared with a number, not with {value!r}.")
        bound = filter_pb2.Bound(operator=SIGNS[sign], value=plain)
        return filter_from(**{self._field: self._message(**self._name, **{self._bound: bound})})


class _Among:
    """A value from a set: `field` names the filter's message and `values` the field of the values in it."""

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(
        self,
        message: type[Any],
        field: str,
        values: str,
        name: dict[str, str],
        checked: Callable[[object], int | str],
    ) -> None:
        self._message, self._field, self._values, self._name = message, field, values, name
        self._checked = checked

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return self.isin([value])

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return ~self.isin([value])

    def isin(self, values: Iterable[Any]) -> Filter:
        """Return a filter for images whose value is in `values`; it matches no image if `values` is empty."""
        listed = [self._checked(value) for value in several(values)]
        if not listed:
            return filter_from(any=filter_pb2.Filters())
        return filter_from(**{self._field: self._message(**self._name, **{self._values: listed})})

    def is_null(self) -> Filter:
        """Return a filter for images without a value."""
        return ~filter_from(present=filter_pb2.Present(**self._name))

    def __bool__(self) -> bool:
        raise TypeError("it has a value for each image; compare it")


def _cluster_number(value: object) -> int:
    number = as_int(value)
    if number is None:
        raise InvalidArgumentError(f"Clusters are integers, not {value!r}.")
    return number


def _class_name(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"A class name must be a str, not {value!r}.")
    return checked_text(value)


def cluster(clustering: str = "") -> _Among:
    """Return the cluster number of an image, to compare in a filter.

    `clustering` is "space/name"; "" is the default clustering of the default space. Compare with == and !=, or use
    isin and is_null.

    >>> lookalike.cluster("toy/halves").isin([0, 1])
    <Filter in_cluster { clustering: "toy/halves" clusters: 0 clusters: 1 }>
    """
    name = {"clustering": checked_text(clustering)}
    return _Among(filter_pb2.InCluster, "in_cluster", "clusters", name, _cluster_number)


def distance(clustering: str = "") -> _Number:
    """Return the distance of an image to the centroid of its cluster, to compare in a filter.

    `clustering` is as in `cluster`. The distance is in the clustering's metric.

    >>> lookalike.distance("toy/halves") < 0.5
    <Filter in_cluster { clustering: "toy/halves" distance { operator: OPERATOR_LESS value: 0.5 } }>
    """
    name = {"clustering": checked_text(clustering)}
    return _Number(filter_pb2.InCluster, "in_cluster", "distance", name)


def predicted(model: str = "") -> _Among:
    """Return the most probable class of an image, to compare in a filter.

    `model` is the name of a model or of one of its spaces; "" is the model of the default space.

    >>> lookalike.predicted("resnet152") == "tabby"
    <Filter predicted { model: "resnet152" classes: "tabby" }>
    """
    name = {"model": checked_text(model)}
    return _Among(filter_pb2.Predicted, "predicted", "classes", name, _class_name)


def probability(model: str = "") -> _Number:
    """Return the probability of the most probable class, 0 to 1, to compare in a filter.

    `model` is as in `predicted`; "" is the model that the filter names elsewhere, else that of the default space.

    >>> lookalike.probability() > 0.8
    <Filter predicted { probability { operator: OPERATOR_GREATER value: 0.8 } }>
    """
    name = {"model": checked_text(model)}
    return _Number(filter_pb2.Predicted, "predicted", "probability", name)
