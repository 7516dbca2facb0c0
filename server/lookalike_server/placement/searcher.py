"""Searching a placed index. Above this, an index on one device and one on eight look the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_indexer.indexing.metric import to_distances
from lookalike_indexer.indexing.params import refines, search_parameters
from lookalike_server.placement.devices import GPU_SELECTION
from lookalike_server.placement.refine import needs_refining, refined

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

# Candidates beyond k: what comes next may be as near as the last one, exactly (copies of a picture) or by rounding.
MARGIN = 8


class Searcher(Protocol):
    """A placed index of `dim` dimensions. `name` says where, such as "cuda:0" or "shard(cuda:0,cuda:1)"."""

    name: str
    dim: int

    def search(self, queries: Float32, k: int, nprobe: int) -> tuple[Int64, Float32]:
        """The k nearest rows of each query and their distances, both (n, k), nearest first, ties by row.

        `queries` is (n, dim), prepared for the index's metric. `nprobe` is the
        number of inverted lists to visit; 0 for an index that has none. Where
        fewer than k were found, rows end with -1 and distances with infinity.
        """
        ...

    def close(self) -> None:
        """Give up threads; the memory goes with the last reference."""
        ...


class OnDevice:
    """An index as a device hosts it. It is searched by one thread at a time."""

    def __init__(
        self, name: str, index: Any, metric: Metric, max_selection: int | None = None, offset: int = 0
    ) -> None:
        self.name = name
        self.dim = int(index.d)
        self._index = index
        self._metric: Metric = metric
        self._max_selection = max_selection
        self._offset = offset
        self._refines = needs_refining(index, metric)
        self._looks_again = isinstance(index, faiss.Index) and refines(index)
        # By nprobe and share: finding out what an index is wrapped in costs a tenth of a quick search.
        self._parameters: dict[tuple[int, float], faiss.SearchParameters | None] = {(0, 1.0): None}

    def search(self, queries: Float32, k: int, nprobe: int) -> tuple[Int64, Float32]:
        self._check(k, nprobe)
        wanted, most = k + MARGIN, max(k, GPU_SELECTION)
        # The margin is for ties. What an index that refines looks at again is what its recall was measured with.
        share = round((k + 1) / wanted, 2) if self._looks_again else 1.0
        rows, distances = self._found(queries, self._candidates(wanted), nprobe, share)
        found = _padded(rows[:, :k], distances[:, :k], k)
        tied = _cut_through_a_tie(rows, distances, k)
        # Of equals, an index keeps whichever it likes: those of the lowest rows are known when all have been seen.
        while len(tied) and self._candidates(wanted) < self._candidates(most):
            wanted = min(4 * wanted, most)
            rows, distances = self._found(queries[tied], self._candidates(wanted), nprobe)
            found[0][tied], found[1][tied] = rows[:, :k], distances[:, :k]
            tied = tied[_cut_through_a_tie(rows, distances, k)]
        return found

    def _found(self, queries: Float32, k: int, nprobe: int, share: float = 1.0) -> tuple[Int64, Float32]:
        try:
            # Parameters travel with the call: the index is shared and never changed.
            if (nprobe, share) not in self._parameters:
                self._parameters[nprobe, share] = search_parameters(self._index, nprobe, share)
            scores, rows = self._index.search(queries, k, params=self._parameters[nprobe, share])
            distances = refined(self._index, queries, rows) if self._refines else to_distances(scores, self._metric)
        except RuntimeError as error:
            raise DeviceError(f"The search on {self.name} failed; the server's log tells more.") from error
        rows[rows >= 0] += self._offset
        return _sorted(rows, distances) if self._refines else in_order(rows, distances)

    def _candidates(self, wanted: int) -> int:
        """How many of those wanted to ask the index for."""
        # More than there are would come back as -1 anyway, and costs a GPU's scratch memory.
        return min(wanted, int(self._index.ntotal), self._max_selection or wanted)

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
        self._pieces = pieces
        self._owners = [
            ThreadPoolExecutor(1, thread_name_prefix=f"shard/{piece.name}", initializer=prepare) for piece in pieces
        ]

    def search(self, queries: Float32, k: int, nprobe: int) -> tuple[Int64, Float32]:
        asked = [
            owner.submit(piece.search, queries, k, nprobe)
            for owner, piece in zip(self._owners, self._pieces, strict=True)
        ]
        answers = [answer.result() for answer in asked]
        rows = np.concatenate([rows for rows, _ in answers], axis=1)
        distances = np.concatenate([distances for _, distances in answers], axis=1)
        rows, distances = _sorted(rows, distances)
        return rows[:, :k], distances[:, :k]

    def close(self) -> None:
        for owner in self._owners:
            owner.shutdown(wait=False)


def in_order(rows: Int64, distances: Float32) -> tuple[Int64, Float32]:
    """Equal distances by ascending row; the input is sorted by distance already, as faiss returns it."""
    ties = np.flatnonzero((distances[:, 1:] <= distances[:, :-1]).any(axis=1))
    if len(ties):
        rows[ties], distances[ties] = _sorted(rows[ties], distances[ties])
    return rows, distances


def _sorted(rows: Int64, distances: Float32) -> tuple[Int64, Float32]:
    """Each line by (distance, row)."""
    # Places that were not filled have distance infinity and stay at the end.
    order = np.lexsort((rows, distances), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _cut_through_a_tie(rows: Int64, distances: Float32, k: int) -> Int64:
    """The lines whose last candidate is as near as the k-th, so that more such may not have been seen."""
    if rows.shape[1] <= k:
        return np.empty(0, np.int64)
    return np.flatnonzero((rows[:, -1] >= 0) & (distances[:, -1] == distances[:, k - 1]))


def _padded(rows: Int64, distances: Float32, k: int) -> tuple[Int64, Float32]:
    missing = k - rows.shape[1]
    if missing <= 0:
        return rows, distances
    return (
        np.pad(rows, ((0, 0), (0, missing)), constant_values=-1),
        np.pad(distances, ((0, 0), (0, missing)), constant_values=np.inf),
    )
