"""Searching a placed index. Above this, an index on one device and one on eight look the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_server.placement.kinds import strategy_of
from lookalike_server.placement.strategies import Found, by_distance

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class Searcher(Protocol):
    """A placed index of `dim` dimensions. `name` says where, such as "cuda:0" or "shard(cuda:0,cuda:1)".

    `depends_on_k`: the answer to a query depends on the k of its search, so
    that only searches of equal k may share a call.
    """

    name: str
    dim: int
    depends_on_k: bool

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64 | None = None) -> Found:
        """The k nearest rows of each query and their distances, both (n, k), nearest first, ties by row.

        `queries` is (n, dim), prepared for the index's metric. `nprobe` is the
        number of inverted lists to visit; 0 for an index that has none.
        `wanted` (n,) is how many of the k each query needs, all by default:
        further lists are visited where the first hold fewer. Where fewer than
        k were found, rows end with -1 and distances with infinity.
        """
        ...

    def close(self) -> None:
        """Give up threads; the memory goes with the last reference."""
        ...


class OnDevice:
    """An index as a device hosts it. It is searched by one thread at a time.

    `sizes` are those of all inverted lists where this is a shard of an index.
    """

    def __init__(
        self,
        name: str,
        index: Any,
        metric: Metric,
        max_selection: int | None = None,
        offset: int = 0,
        sizes: Int64 | None = None,
    ) -> None:
        self.name = name
        self.dim = int(index.d)
        self._index = index
        self._max_selection = max_selection
        self._offset = offset
        self._transform, self._strategy = strategy_of(index, metric, max_selection, sizes)
        self.depends_on_k = self._strategy.depends_on_k

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64 | None = None) -> Found:
        self._check(k, nprobe)
        needs = np.full(len(queries), k, np.int64) if wanted is None else wanted
        try:
            found = self._strategy.search(self._transform(queries), k, nprobe, needs)
        except RuntimeError as error:
            raise DeviceError(f"The search on {self.name} failed; the server's log tells more.") from error
        found.rows[found.rows >= 0] += self._offset
        return found

    def close(self) -> None:
        pass

    def _check(self, k: int, nprobe: int) -> None:
        bound = self._max_selection
        if bound is not None and max(k, nprobe) > bound:
            raise UsageError(f"{self.name} can select at most {bound}: k is {k} and nprobe {nprobe}; ask for less.")


class Sharded:
    """Pieces of one index, each with its owner thread; their answers are merged."""

    def __init__(self, pieces: Sequence[Searcher], prepare: Callable[[], None] | None = None) -> None:
        self.name = f"shard({','.join(piece.name for piece in pieces)})"
        self.dim = pieces[0].dim
        self.depends_on_k = any(piece.depends_on_k for piece in pieces)
        self._pieces = pieces
        self._owners = [
            ThreadPoolExecutor(1, thread_name_prefix=f"shard/{piece.name}", initializer=prepare) for piece in pieces
        ]

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64 | None = None) -> Found:
        asked = [
            owner.submit(piece.search, queries, k, nprobe, wanted)
            for owner, piece in zip(self._owners, self._pieces, strict=True)
        ]
        answers = [answer.result() for answer in asked]
        rows = np.concatenate([found.rows for found in answers], axis=1)
        distances = np.concatenate([found.distances for found in answers], axis=1)
        rows, distances = by_distance(rows, distances)
        return Found(rows[:, :k], distances[:, :k], np.max([found.effort for found in answers], axis=0))

    def close(self) -> None:
        for owner in self._owners:
            owner.shutdown(wait=False)
