"""Neighbors in groups: the nearest images of k different groups.

Each search covers only groups that are not full yet, so a group of a million near images costs one
more search, not a million neighbors. It ends when k groups are full or no image is left.
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

# A search requests this many times the missing neighbors, because some of them belong to groups that fill up.
_MORE = 2

# Searches for this many neighbors of one query among the rows of a mask.
Search = Callable[[int, RowMask], Awaitable[Hits]]


@dataclass(frozen=True)
class Grouped:
    """Rows of a space in groups. `codes` (rows,) are in `[0, count)`, or -1 for a row in no group.

    `k` groups of `per_group` rows each are wanted, with no row farther than `farthest`.
    """

    codes: Int32
    count: int
    k: int
    per_group: int
    farthest: float = math.inf


@dataclass
class Groups:
    """Groups of one query in the order of their discovery, with the rows and distances of each."""

    by: Grouped
    members: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Number of neighbors that all groups together can still take."""
        return self.by.k * self.by.per_group - sum(map(len, self.members.values()))

    def add(self, rows: Int64, distances: Float32) -> None:
        """Add hits (n,), nearest first."""
        keep = distances <= self.by.farthest
        rows, distances = rows[keep], distances[keep]
        for code, row, distance in zip(self.by.codes[rows].tolist(), rows.tolist(), distances.tolist(), strict=True):
            if code not in self.members and len(self.members) < self.by.k:
                self.members[code] = []
            group = self.members.get(code)
            if group is not None and len(group) < self.by.per_group:
                group.append((row, distance))

    def open_rows(self, allowed: Bools | None, seen: Sequence[Int64]) -> RowMask:
        """Return the rows that may still be added: of new groups while there is room, and of open groups."""
        is_open = np.full(self.by.count + 1, len(self.members) < self.by.k, np.bool_)
        for code, group in self.members.items():
            is_open[code] = len(group) < self.by.per_group
        # Code -1 reads the last element, which stands for rows in no group.
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
    """Return the groups of one query, and the hits of each search for them.

    `allowed` (rows,) limits the rows; None allows all. The rows `left_out` are excluded. One search
    requests at most `most` neighbors.
    """
    found, seen, searches = Groups(by), [left_out], list[Hits]()
    while found.missing:
        mask = await workers.run(lambda: found.open_rows(allowed, seen))
        wanted = min(_MORE * found.missing, most, mask.count)
        if not wanted:
            break
        hits = await search(wanted, mask)
        searches.append(hits)
        rows = hits.rows[0][hits.rows[0] >= 0]
        if not len(rows):
            break
        found.add(rows, hits.distances[0][: len(rows)])
        if hits.distances[0][len(rows) - 1] > by.farthest:
            break
        seen.append(rows)
    return found, searches
