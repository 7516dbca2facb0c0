"""Value in the object store of a cluster, which workers read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Shared(Generic[Value]):
    """Reference to a value; the value stays in the object store while a reference exists.

    `fetch` is `ray.get`.
    """

    reference: Any
    fetch: Callable[[Any], Any]

    def get(self) -> Value:
        """Return the value. Its arrays are read-only."""
        value: Value = self.fetch(self.reference)
        return value
