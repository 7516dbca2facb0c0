"""Neighbors in groups: the nearest images of k different groups, not of one.

The nearest images are searched among those of groups that are not full yet, so
that a group of a million near images costs one more search, and not a million
neighbors. It ends when k groups are full, or no image is left.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Int32, Int64
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.search.hits import Hits

# A search is for so many times the neighbors that are missing: those of full groups are among them.
_MORE = 2

# Searches for so many neighbors of one query among some rows.
Search = Callable[[int, RowMask], Awaitable[Hits]]


@dataclass(frozen=True)
class Grouped:
    """The rows of a space in groups: `codes` (rows,) are from 0 to before `count`, -1 for a row in none.

    `k` groups are wanted with `per_group` rows each, none of them farther than `farthest`.
    """

    codes: Int32
    count: int
    k: int
    per_group: int
    farthest: float = math.inf


@dataclass
class Groups:
    """The groups of one query, in the order in which they were found: the rows and distances of each."""

    by: Grouped
    members: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """How many neighbors all groups together could still take."""
        return self.by.k * self.by.per_group - sum(map(len, self.members.values()))

    def take(self, rows: Int64, distances: Float32) -> None:
        """Take hits (n,), nearest first."""
        keep = distances <= self.by.farthest
        rows, distances = rows[keep], distances[keep]
        for code, row, distance in zip(self.by.codes[rows].tolist(), rows.tolist(), distances.tolist(), strict=True):
            if code not in self.members and len(self.members) < self.by.k:
                self.members[code] = []
            group = self.members.get(code)
            if group is not None and len(group) < self.by.per_group:
                group.append((row, distance))

    def left(self, allowed: Bools | None, seen: Sequence[Int64]) -> RowMask:
        """The rows that may still be taken: of new groups as long as there is room, and of those that are not full."""
        is_open = np.full(self.by.count + 1, len(self.members) < self.by.k, np.bool_)
        for code, group in self.members.items():
            is_open[code] = len(group) < self.by.per_group
        # The last one, which -1 reads, stands for rows in no group.
        is_open[-1] = False
        keep = is_open[self.by.codes]
        if allowed is not None:
            keep &= allowed
        for rows in seen:
            keep[rows] = False
        return RowMask(keep)


async def grouped(
    search: Search, by: Grouped, allowed: Bools | None, left_out: Int64, most: int, workers: Workers
) -> tuple[Groups, list[Hits]]:
    """The groups of one query, and the hits of each search for them.

    `allowed` (rows,) may be found, all rows when None, but for the rows
    `left_out`. One search is for at most `most` neighbors.
    """
    found, seen, searches = Groups(by), [left_out], list[Hits]()
    while found.missing:
        mask = await workers.run(lambda: found.left(allowed, seen))
        wanted = min(_MORE * found.missing, most, mask.count)
        if not wanted:
            break
        hits = await search(wanted, mask)
        searches.append(hits)
        rows = hits.rows[0][hits.rows[0] >= 0]
        if not len(rows):
            break
        found.take(rows, hits.distances[0][: len(rows)])
        if hits.distances[0][len(rows) - 1] > by.farthest:
            break
        seen.append(rows)
    return found, searches
