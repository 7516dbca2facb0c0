"""How searches with masks were done, for those who explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64, Int64

# lists: as many of a query's nearest inverted lists as hold its neighbors among the matches.
# matching-lists: every inverted list that has a match. matches: every match is compared, and nothing else.
# graph: a graph was followed past what does not match. over-fetch: more neighbors than wanted were found, and those
# that do not match left out. exact: every stored embedding that matches was compared. none: nothing matches.
Strategy = Literal["lists", "matching-lists", "matches", "graph", "over-fetch", "exact", "none"]


@dataclass(frozen=True)
class Facts:
    """Of each query (n,): its strategy, the lists that it visited, those without matches that it skipped on the way.

    `local` is the share of matches near the query: in the lists that it came
    through, or among its nearest images of all; NaN where nobody looked.
    `cached`: what was derived from the mask was there already.
    """

    strategy: list[Strategy]
    visited: Int64
    skipped: Int64
    local: Float64
    cached: npt.NDArray[np.bool_]

    @classmethod
    def alike(cls, strategy: Strategy, queries: int) -> Facts:
        """Of queries that visit no lists."""
        zeros = np.zeros(queries, np.int64)
        return cls([strategy] * queries, zeros, zeros.copy(), np.full(queries, np.nan), np.zeros(queries, np.bool_))

    @classmethod
    def of_shards(cls, parts: Sequence[Facts]) -> Facts:
        """Those of queries that were searched in each shard: all shards visit the same lists, if there are lists."""
        kinds: list[Strategy] = [
            next((kind for kind in each if kind != "none"), "none") for each in zip(*_kinds(parts), strict=True)
        ]
        return replace(parts[0], strategy=kinds)

    @classmethod
    def joined(cls, parts: Sequence[Facts]) -> Facts:
        """Those of queries that were searched one after another."""
        return cls(
            [kind for part in parts for kind in part.strategy],
            np.concatenate([part.visited for part in parts]),
            np.concatenate([part.skipped for part in parts]),
            np.concatenate([part.local for part in parts]),
            np.concatenate([part.cached for part in parts]),
        )

    def at(self, lines: Int64) -> Facts:
        """Those of some queries."""
        return Facts(
            [self.strategy[line] for line in lines.tolist()],
            self.visited[lines],
            self.skipped[lines],
            self.local[lines],
            self.cached[lines],
        )


def _kinds(parts: Sequence[Facts]) -> list[list[Strategy]]:
    return [part.strategy for part in parts]
