"""Distinct items of a call, so that repeated ones are processed once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Distinct:
    """Distinct items of a sequence: the position of the `first` of each, and for each item its number (`inverse`)."""

    first: list[int]
    inverse: list[int]

    @classmethod
    def of(cls, items: Sequence[Hashable]) -> Distinct:
        if len(items) == 1:
            # Hashing a large image takes as long as copying it.
            return cls([0], [0])
        found: dict[Hashable, int] = {}
        first: list[int] = []
        inverse: list[int] = []
        for position, item in enumerate(items):
            which = found.setdefault(item, len(found))
            if which == len(first):
                first.append(position)
            inverse.append(which)
        return cls(first, inverse)

    @property
    def all(self) -> bool:
        """True if no item is repeated."""
        return len(self.first) == len(self.inverse)
