"""How much waits, so that nobody has to look at each of those who do: sums by what shares a batch and by cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lookalike_server.batching.waiting import Entry


class Load(NamedTuple):
    """Entries, their cost, and the batches that they take."""

    entries: int = 0
    cost: float = 0.0
    batches: float = 0.0

    def plus(self, other: Load, share: float = 1.0) -> Load:
        """The sum of both, where only a share of the other counts."""
        return Load(self.entries + other.entries, self.cost + share * other.cost, self.batches + share * other.batches)


@dataclass
class _Sum:
    entries: int = 0
    size: int = 0
    cost: float = 0.0


@dataclass
class Loads:
    """What waits by grade, the power of two that an entry's cost is below, and key."""

    _sums: dict[tuple[int, Hashable], _Sum] = field(default_factory=dict)

    def count(self, entry: Entry[Any, Any], entries: int, units: int) -> None:
        """So many entries and units like this one more, or less, wait."""
        which = grade(entry), entry.key
        found = self._sums.setdefault(which, _Sum())
        found.entries += entries
        found.size += units
        found.cost += units * entry.each
        if not found.entries:
            del self._sums[which]

    def all(self, max_batch: int) -> Load:
        return self.up_to(None, max_batch)

    def up_to(self, highest: int | None, max_batch: int) -> Load:
        """The load of the entries of a grade and all below."""
        sizes: Counter[Hashable] = Counter()
        count, cost = 0, 0.0
        for (its, key), found in self._sums.items():
            if highest is None or its <= highest:
                sizes[key] += found.size
                count += found.entries
                cost += found.cost
        return Load(count, cost, sum(math.ceil(size / max_batch) for size in sizes.values()))


def grade(entry: Entry[Any, Any]) -> int:
    """The power of two that the cost of a whole entry is below."""
    return math.frexp(entry.size * entry.each)[1]
