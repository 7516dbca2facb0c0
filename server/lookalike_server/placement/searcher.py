"""Searcher of a placed index. Its users cannot tell one device from eight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_server.placement.facts import Facts
from lookalike_server.placement.kinds import UNMEASURED, Measured, strategy_of
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.strategies import RawHits, by_distance


class Searcher(Protocol):
    """A placed index of `dim` dimensions. `name` is its place, such as "cuda:0" or "shard(cuda:0,cuda:1)".

    `depends_on_k`: the answer to a query depends on the k of its search, so only searches of equal
    k may share a call.
    """

    name: str
    dim: int
    depends_on_k: bool

    def search(
        self, queries: Float32, k: int, nprobe: int, wanted: Int64 | None = None, masks: QueryMasks | None = None
    ) -> RawHits:
        """Return the k nearest rows of each query and their distances, both (n, k), nearest first, ties by row.

        `queries` is (n, dim), prepared for the index's metric. `nprobe` is the number of inverted
        lists to visit, 0 if the index has none. `wanted` (n,) is how many of the k each query
        needs, by default all: more lists are visited if the first hold fewer. If fewer than k were
        found, rows end with -1 and distances with infinity. `masks` cover the index's rows: each
        query finds only what its mask allows, with the same recall as without a mask.
        """
        ...

    def close(self) -> None:
        """Stop threads. The memory is freed with the last reference."""
        ...


class OnDevice:
    """An index on one device, searched by one thread at a time.

    `offset` is added to the rows of a shard that numbers its own.
    """

    def __init__(
        self,
        name: str,
        index: Any,
        metric: Metric,
        max_selection: int | None = None,
        offset: int = 0,
        measured: Measured = UNMEASURED,
    ) -> None:
        self.name = name
        self.dim = int(index.d)
        self._index = index
        self._max_selection = max_selection
        self._offset = offset
        # Shards of inverted lists keep the row numbers of the whole index, and its masks.
        lists = measured.membership is not None
        self._own_rows = None if lists else (offset, offset + int(index.ntotal))
        self._transform, self._strategy = strategy_of(index, metric, max_selection, measured)
        self.depends_on_k = self._strategy.depends_on_k

    def search(
        self, queries: Float32, k: int, nprobe: int, wanted: Int64 | None = None, masks: QueryMasks | None = None
    ) -> RawHits:
        self._check(k, nprobe)
        needs = np.full(len(queries), k, np.int64) if wanted is None else wanted
        if masks is not None and self._own_rows is not None:
            masks = masks.part(*self._own_rows)
        try:
            found = self._strategy.search(self._transform(queries), k, nprobe, needs, masks)
        except RuntimeError as error:
            raise DeviceError(f"The search on {self.name} failed; see the server's log.") from error
        if self._offset:
            found.rows[found.rows >= 0] += self._offset
        return found

    def close(self) -> None:
        pass

    def _check(self, k: int, nprobe: int) -> None:
        bound = self._max_selection
        if bound is not None and max(k, nprobe) > bound:
            raise UsageError(f"{self.name} can select at most {bound}: k is {k} and nprobe {nprobe}; request less.")


class Sharded:
    """Pieces of one index, each with its owner thread. Their answers are merged."""

    def __init__(self, pieces: Sequence[Searcher], prepare: Callable[[], None] | None = None) -> None:
        self.name = f"shard({','.join(piece.name for piece in pieces)})"
        self.dim = pieces[0].dim
        self.depends_on_k = any(piece.depends_on_k for piece in pieces)
        self._pieces = pieces
        self._owners = [
            ThreadPoolExecutor(1, thread_name_prefix=f"shard/{piece.name}", initializer=prepare) for piece in pieces
        ]

    def search(
        self, queries: Float32, k: int, nprobe: int, wanted: Int64 | None = None, masks: QueryMasks | None = None
    ) -> RawHits:
        asked = [
            owner.submit(piece.search, queries, k, nprobe, wanted, masks)
            for owner, piece in zip(self._owners, self._pieces, strict=True)
        ]
        answers = [answer.result() for answer in asked]
        rows = np.concatenate([found.rows for found in answers], axis=1)
        distances = np.concatenate([found.distances for found in answers], axis=1)
        rows, distances = by_distance(rows, distances)
        effort = np.max([found.effort for found in answers], axis=0)
        facts = [found.facts for found in answers if found.facts is not None]
        return RawHits(rows[:, :k], distances[:, :k], effort, Facts.of_shards(facts) if facts else None)

    def close(self) -> None:
        for owner in self._owners:
            owner.shutdown(wait=False)
