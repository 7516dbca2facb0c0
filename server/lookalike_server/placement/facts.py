"""Execution facts of searches with masks, for the explanation of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64, Int64

# Strategies of a search with a mask:
#   lists           the nearest inverted lists that hold enough of the query's matching neighbors
#   matching-lists  every inverted list that has a match
#   matches         every match is compared, and nothing else
#   graph           the graph is followed, also through vectors that do not match
#   over-fetch      more neighbors than wanted are found, and those that do not match are dropped
#   exact           every stored embedding that matches is compared
#   none            nothing matches
Strategy = Literal["lists", "matching-lists", "matches", "graph", "over-fetch", "exact", "none"]


@dataclass(frozen=True)
class Facts:
    """Facts of each query (n,): its strategy, the lists it visited, and the lists without matches it skipped.

    `local` is the share of matches near the query: in the lists that it passed, or among its
    nearest images overall; NaN if not estimated. `cached`: everything derived from the mask was
    cached.
    """

    strategy: list[Strategy]
    visited: Int64
    skipped: Int64
    local: Float64
    cached: npt.NDArray[np.bool_]

    @classmethod
    def alike(cls, strategy: Strategy, queries: int) -> Facts:
        """Return the facts of queries that visit no lists."""
        zeros = np.zeros(queries, np.int64)
        return cls([strategy] * queries, zeros, zeros.copy(), np.full(queries, np.nan), np.zeros(queries, np.bool_))

    @classmethod
    def of_shards(cls, parts: Sequence[Facts]) -> Facts:
        """Combine the facts of queries that were searched in each shard. All shards visit the same lists, if any."""
        kinds: list[Strategy] = [
            next((kind for kind in each if kind != "none"), "none") for each in zip(*_kinds(parts), strict=True)
        ]
        return replace(parts[0], strategy=kinds)

    @classmethod
    def joined(cls, parts: Sequence[Facts]) -> Facts:
        """Concatenate the facts of consecutive queries."""
        return cls(
            [kind for part in parts for kind in part.strategy],
            np.concatenate([part.visited for part in parts]),
            np.concatenate([part.skipped for part in parts]),
            np.concatenate([part.local for part in parts]),
            np.concatenate([part.cached for part in parts]),
        )

    def at(self, lines: Int64) -> Facts:
        """Return the facts of the given queries."""
        return Facts(
            [self.strategy[line] for line in lines.tolist()],
            self.visited[lines],
            self.skipped[lines],
            self.local[lines],
            self.cached[lines],
        )


def _kinds(parts: Sequence[Facts]) -> list[list[Strategy]]:
    return [part.strategy for part in parts]
