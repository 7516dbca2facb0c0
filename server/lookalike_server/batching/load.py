"""Totals of a queue by cost and batch key, so that admission does not scan the entries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lookalike_server.batching.waiting import Entry


class Load(NamedTuple):
    """Number of entries, their cost, and the batches that they need."""

    entries: int = 0
    cost: float = 0.0
    batches: float = 0.0

    def plus(self, other: Load, share: float = 1.0) -> Load:
        """Return the sum of both loads, with the other's cost and batches scaled by `share`."""
        return Load(self.entries + other.entries, self.cost + share * other.cost, self.batches + share * other.batches)


@dataclass
class _Sum:
    entries: int = 0
    size: int = 0
    cost: float = 0.0


@dataclass
class Loads:
    """Totals by grade and key. An entry's grade is the exponent of the power of two just above its cost."""

    _sums: dict[tuple[int, Hashable], _Sum] = field(default_factory=dict)

    def count(self, entry: Entry[Any, Any], entries: int, units: int) -> None:
        """Add `entries` and `units` (negative: subtract) to the totals of entries like this one."""
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
        """Return the load of all entries up to this grade; None means all."""
        sizes: Counter[Hashable] = Counter()
        count, cost = 0, 0.0
        for (its, key), found in self._sums.items():
            if highest is None or its <= highest:
                sizes[key] += found.size
                count += found.entries
                cost += found.cost
        return Load(count, cost, sum(math.ceil(size / max_batch) for size in sizes.values()))


def grade(entry: Entry[Any, Any]) -> int:
    """Return the exponent of the power of two just above the cost of the whole entry."""
    return math.frexp(entry.size * entry.each)[1]
