"""Searching one space: the batches of its index and, apart from them, those that read every embedding.

The engine is reached through `search` alone, so that it could as well run on
another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.indexing.exact import exact_search
from lookalike_indexer.indexing.metric import prepare
from lookalike_server.batcher import Answer, Batcher, ObserveLane, Rules, Run
from lookalike_server.effort import Plan
from lookalike_server.limits import Limits
from lookalike_server.placement.searcher import Searcher

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """Rows of the space and their distances, both (n, k), nearest first; row -1 where fewer were found."""

    rows: Int64
    distances: Float32


@dataclass(frozen=True)
class _Work:
    queries: Float32
    k: int
    nprobe: int

    @property
    def size(self) -> int:
        return len(self.queries)

    @property
    def key(self) -> tuple[int, int]:
        # k within a factor of two: no caller pays for a far larger k than its own.
        return self.nprobe, self.k.bit_length()


class Engine:
    """The index of one space on its devices, and the stream of its embeddings for exact searches.

    An exact search of a compressed index takes as long as reading the space,
    so it has a queue and a thread of its own and delays nobody else.
    """

    def __init__(
        self,
        reader: CollectionReader,
        entry: IndexEntry,
        searchers: Sequence[Searcher],
        limits: Limits,
        prepare_thread: Callable[[], None] | None = None,
        observe: ObserveLane = lambda lane: None,
    ) -> None:
        self.entry = entry
        self._searchers = searchers
        rules: Rules[_Work] = Rules(
            key=lambda work: work.key,
            size=lambda work: work.size,
            max_batch=limits.max_batch,
            max_queue=limits.max_queue,
        )
        workers: dict[str, Run[_Work, Hits]] = {searcher.name: _Indexed(searcher, entry) for searcher in searchers}
        self._indexed = Batcher("search", workers, rules, prepare_thread, observe("search"))
        self._scanned = Batcher("scan", {"cpu": _Scan(reader, entry)}, rules, prepare_thread, observe("scan"))

    async def search(self, vectors: Float32, k: int, plan: Plan, deadline: float | None) -> Answer[Hits]:
        """The k nearest rows of each vector; `vectors` (n, dim) need not be prepared.

        OverloadedError, ExpiredError: see Batcher. DeviceError: the device failed.
        """
        work = _Work(vectors, k, plan.nprobe)
        lane = self._scanned if plan.scan else self._indexed
        return await lane.submit(work, deadline)

    @property
    def waiting(self) -> dict[str, int]:
        """The queries that wait, by lane."""
        return {"search": self._indexed.waiting, "scan": self._scanned.waiting}

    def close(self) -> None:
        self._indexed.close()
        self._scanned.close()
        for searcher in self._searchers:
            searcher.close()


class _Indexed:
    """Runs a batch on a placed index."""

    def __init__(self, searcher: Searcher, entry: IndexEntry) -> None:
        self._searcher = searcher
        self._entry = entry

    def __call__(self, batch: list[_Work]) -> list[Hits]:
        # All at once: numpy costs a call as much for one row as for some.
        queries = prepare(_joined(batch), self._entry.metric)
        rows, distances = self._searcher.search(queries, max(work.k for work in batch), batch[0].nprobe)
        return _parted(batch, rows, distances)


class _Scan:
    """Runs a batch by comparing with every stored embedding, one block in memory at a time."""

    def __init__(self, reader: CollectionReader, entry: IndexEntry) -> None:
        self._reader = reader
        self._entry = entry

    def __call__(self, batch: list[_Work]) -> list[Hits]:
        k = max(work.k for work in batch)
        queries = prepare(_joined(batch), self._entry.metric)
        rows, distances = exact_search(self._blocks(), queries, k, self._entry.metric)
        return _parted(batch, rows, distances)

    def _blocks(self) -> Iterator[tuple[Int64, Float32]]:
        start = 0
        for ids, vectors in self._reader.stream(self._entry.space):
            yield np.arange(start, start + len(ids), dtype=np.int64), vectors
            start += len(ids)


def _joined(batch: list[_Work]) -> Float32:
    return batch[0].queries if len(batch) == 1 else np.concatenate([work.queries for work in batch])


def _parted(batch: list[_Work], rows: Int64, distances: Float32) -> list[Hits]:
    """Each work's own lines, cut to its own k."""
    ends = np.cumsum([work.size for work in batch])
    return [
        Hits(rows[end - work.size : end, : work.k], distances[end - work.size : end, : work.k])
        for work, end in zip(batch, ends, strict=True)
    ]
