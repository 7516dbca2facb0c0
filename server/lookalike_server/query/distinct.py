"""What a call asks for more than once is done once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Distinct:
    """The different items of a sequence: the position of the `first` of each, and `inverse`, which of these each is."""

    first: list[int]
    inverse: list[int]

    @classmethod
    def of(cls, items: Sequence[Hashable]) -> Distinct:
        if len(items) == 1:
            # The hash of a large picture takes as long as copying it.
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
        """Whether no item is there twice."""
        return len(self.first) == len(self.inverse)
