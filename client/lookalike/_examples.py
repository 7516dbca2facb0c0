"""Examples and counter-examples of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lookalike._arguments import Weights
from lookalike._errors import InvalidArgumentError
from lookalike._queries import check_key
from lookalike.v1 import search_pb2


def examples(
    given: Mapping[str, Any], not_keys: Sequence[str], weights: Weights | None
) -> tuple[search_pb2.Feedback, dict[str, Any]]:
    """Return the feedback of a search, made of `keys` and `not_keys`, and the other arguments.

    InvalidArgumentError: no example is given, or a weight is invalid.
    """
    rest = {name: value for name, value in given.items() if name != "keys" and value is not None}
    message = search_pb2.Feedback(keys=_keys("keys", given.get("keys") or ()), not_keys=_keys("not_keys", not_keys))
    if not message.keys and not message.not_keys:
        raise InvalidArgumentError("A search by examples needs keys= or not_keys= with at least one key.")
    if weights is not None:
        message.query_weight, message.weight, message.not_weight = _checked(weights)
    return message, rest


def _keys(name: str, keys: Sequence[str]) -> list[str]:
    if isinstance(keys, str):
        raise InvalidArgumentError(f"{name}= takes a sequence of keys, not {keys!r}.")
    return [check_key(key) for key in keys]


def _checked(weights: Weights) -> list[float]:
    numbers = [float(weight) for weight in weights]
    if len(numbers) != 3 or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise InvalidArgumentError(
            f"weights={weights!r} must be three numbers of at least 0: of the query, of keys and of not_keys."
        )
    return numbers
