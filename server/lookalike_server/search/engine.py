"""Searching one space: the batches of its index and, apart from them, those that read every embedding.

The engine is reached through `search` alone, so that it could as well run on
another machine.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.indexing.exact import exact_search
from lookalike_indexer.indexing.metric import prepare
from lookalike_server.batching import cost
from lookalike_server.batching.batcher import Answer, Batcher, ObserveLane, Rules, Run
from lookalike_server.columns.row_mask import Bools, RowMask
from lookalike_server.columns.rows import Beside, Rows
from lookalike_server.columns.space_images import Texts
from lookalike_server.common.limits import Limits
from lookalike_server.placement.placed import Placed
from lookalike_server.placement.searcher import Searcher
from lookalike_server.placement.strategies import Found
from lookalike_server.search.effort import Plan
from lookalike_server.search.reply_writer import Wanted

log = logging.getLogger(__name__)

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

# A batch is cut so that it takes about so long: others wait for it, and no less time is spent on smaller ones.
_RUN_S = 0.1

# From the hits of a batch and what each of its calls wants to the replies.
Write = Callable[[Int64, Float32, Sequence[Wanted]], Sequence[bytes | None]]


class Hits(NamedTuple):
    """Rows as `Rows` counts them and their distances, both (n, k), nearest first; row -1 where there are fewer.

    `nprobe` is the most lists that a query visited, of a graph the largest
    efSearch; 0 where everything was compared, or there are none. `scanned`:
    every stored embedding was compared.
    `device` is where they were found, such as "cpu" or "cuda:0". `reply` is
    what the caller wants to know of them, None where that is large, and
    `reply_s` the seconds that writing those of the batch took.
    """

    rows: Int64
    distances: Float32
    nprobe: int
    scanned: bool
    device: str
    reply: bytes | None
    reply_s: float


class _Work(NamedTuple):
    queries: Float32
    k: int
    nprobe: int
    wanted: Wanted
    mask: RowMask | None = None

    @property
    def size(self) -> int:
        return len(self.queries)

    def part(self, start: int, stop: int) -> _Work:
        """Some of the queries."""
        return self._replace(queries=self.queries[start:stop], wanted=self.wanted.part(start, stop))


class Engine:
    """The index of one space on its devices, and the stream of its embeddings for exact searches.

    An exact search of a compressed index takes as long as reading the space,
    so it has a queue and a thread of its own and delays nobody else.
    """

    def __init__(
        self,
        rows: Rows,
        entry: IndexEntry,
        places: Sequence[Placed],
        limits: Limits,
        write: Write,
        claim: Callable[[float], None] = lambda queries: None,
        observe: ObserveLane = lambda lane: None,
    ) -> None:
        self.entry = entry
        exact_k = any(place.searcher.depends_on_k for place in places)
        rules: Rules[_Work] = Rules(
            # k within a factor of two, so that no caller pays for a far larger k than its own. Only equal ones where
            # the answer depends on it: nobody's answer may depend on who else asks.
            key=lambda work: (work.nprobe, work.k if exact_k else work.k.bit_length()),
            size=lambda work: work.size,
            max_batch=limits.max_batch,
            max_queue=limits.max_queue,
            max_age=limits.max_queue_ms / 1000,
            max_run=limits.max_search_ms / 1000,
            cost=lambda work: cost.of_search(entry, work.size, work.k, work.nprobe),
            cut=_Work.part,
            cut_to=_RUN_S,
        )
        beside = rows.beside(entry.metric)
        # The images that a search by the index can find.
        self._searched = rows.indexed if beside is None else len(rows.ids)
        self._placed = {place.searcher.name: _Indexed(place, entry, write, claim, beside) for place in places}
        workers: dict[str, Run[_Work, Hits]] = dict(self._placed)
        recover = {name: placed.recover for name, placed in self._placed.items()}
        leave = {place.searcher.name: self._placed[place.searcher.name].leave for place in places if place.elsewhere}
        self._indexed = Batcher("search", workers, rules, None, observe("search"), recover, _whole, leave)
        slow = dataclasses.replace(
            rules,
            max_age=limits.max_slow_queue_ms / 1000,
            max_run=limits.max_scan_ms / 1000,
            cost=lambda work: cost.of_scan(len(rows.ids), work.size, work.k),
        )
        scan = {"cpu": _Scan(rows, entry, write)}
        self._scanned = Batcher("scan", scan, slow, lambda: claim(1), observe("scan"), join=_whole)

    async def search(
        self,
        vectors: Float32,
        k: int,
        plan: Plan,
        deadline: float | None,
        wanted: Wanted | None = None,
        mask: RowMask | None = None,
    ) -> Answer[Hits]:
        """The k nearest rows of each vector; `vectors` (n, dim) need not be prepared. `wanted` is for the reply.

        Each query has min(k, images) neighbours, or min(k, mask.count) of those
        that `mask` (images,) allows: where the index finds fewer, every
        embedding is compared.
        OverloadedError, ExpiredError: see Batcher. DeviceError: the device failed.
        """
        work = _Work(vectors, k, plan.nprobe, wanted or Wanted(len(vectors), 0, None, Texts()), mask)
        if not plan.scan and mask is None:
            answer = await self._indexed.submit(work, deadline)
            # Rows that were not found come last.
            if (answer.result.rows[:, min(k, self._searched) - 1] >= 0).all():
                return answer
        return await self._scanned.submit(work, deadline)

    @property
    def waiting(self) -> dict[str, int]:
        """The queries that wait, by lane."""
        return {"search": self._indexed.waiting, "scan": self._scanned.waiting}

    def look(self) -> list[tuple[str, str]]:
        """Give up threads that hang: the lane and a sentence for each. From any thread."""
        lanes = {"search": self._indexed, "scan": self._scanned}
        return [(lane, sentence) for lane, batcher in lanes.items() for sentence in batcher.look()]

    @property
    def lost(self) -> str:
        """What is wrong when no device has the index; "" when one has."""
        return self._indexed.lost

    @property
    def devices(self) -> list[str]:
        """Where the index is, which another place may have taken over."""
        return [placed.device for placed in self._placed.values()]

    def close(self) -> None:
        self._indexed.close()
        self._scanned.close()
        for placed in self._placed.values():
            placed.close()


class _Indexed:
    """Runs a batch on a placed index, and places it anew when its device fails."""

    def __init__(
        self, place: Placed, entry: IndexEntry, write: Write, claim: Callable[[float], None], beside: Beside | None
    ) -> None:
        self._beside = beside
        self._write = write
        self._claim = claim
        self._searcher: Searcher | None = place.searcher
        self.device = place.searcher.name
        self._again = place.again
        self._entry = entry

    def __call__(self, batch: list[_Work]) -> list[Hits]:
        # All at once: numpy costs a call as much for one row as for some.
        queries = prepare(_joined(batch), self._entry.metric)
        self._claim(len(queries) / len(batch))
        wanted = np.repeat([work.k for work in batch], [work.size for work in batch])
        found = self._there().search(queries, int(wanted.max()), batch[0].nprobe, wanted)
        if self._beside is not None:
            found = Found(*self._beside.merged(queries, found.rows, found.distances), found.effort)
        return _parted(batch, found, self.device, self._write)

    def recover(self) -> None:
        """Make sure that the index can be searched. DeviceError: it cannot, for now.

        A device that only lacked memory for one batch keeps its index; otherwise
        what it may still hold of it is given up before it is placed anew.
        """
        try:
            self._probe()
        except DeviceError as error:
            if self._again is None:
                raise
            if self._searcher is not None:
                # Not with each attempt.
                log.warning("the index of the space %s is placed anew: %s", self._entry.space, error)
        else:
            return
        self._place_again(self._again)

    def leave(self) -> None:
        """Placed the index elsewhere, without asking a device that hangs. DeviceError: it cannot be, for now."""
        if self._again is not None:
            self._place_again(self._again)

    def _place_again(self, again: Callable[[], Searcher]) -> None:
        self.close()
        self._searcher = None
        searcher = again()
        self._searcher, self.device = searcher, searcher.name
        self._probe()
        log.info("the index of the space %s is on %s now", self._entry.space, self.device)

    def close(self) -> None:
        if self._searcher is not None:
            self._searcher.close()

    def _there(self) -> Searcher:
        if self._searcher is None:
            raise DeviceError(
                f"The index of the space {self._entry.space} is not on {self.device} any more; ask later."
            )
        return self._searcher

    def _probe(self) -> None:
        searcher = self._there()
        # Not zeros, which would be as near to one image as to every other.
        query = np.full((1, searcher.dim), 1 / math.sqrt(searcher.dim), np.float32)
        searcher.search(query, 1, min(1, self._entry.nlist))


class _Scan:
    """Runs a batch by comparing with every stored embedding, one block in memory at a time."""

    def __init__(self, rows: Rows, entry: IndexEntry, write: Write) -> None:
        self._write = write
        self._rows = rows
        self._entry = entry

    def __call__(self, batch: list[_Work]) -> list[Hits]:
        k = max(work.k for work in batch)
        queries = prepare(_joined(batch), self._entry.metric)
        rows, distances = exact_search(self._rows.blocks(), queries, k, self._entry.metric, _allowed(batch))
        found = Found(rows, distances, np.zeros(len(rows), np.int64))
        return _parted(batch, found, "cpu", self._write, scanned=True)


def _allowed(batch: list[_Work]) -> list[Bools | None] | None:
    """For each query of a batch the rows that it may find; None where all may find everything."""
    if all(work.mask is None for work in batch):
        return None
    return [None if work.mask is None else work.mask.bools for work in batch for _ in range(work.size)]


def _whole(parts: Sequence[Hits]) -> Hits:
    """The hits of a work that was run in pieces."""
    return Hits(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.distances for part in parts]),
        max(part.nprobe for part in parts),
        any(part.scanned for part in parts),
        parts[-1].device,
        None,
        sum(part.reply_s for part in parts),
    )


def _joined(batch: list[_Work]) -> Float32:
    return batch[0].queries if len(batch) == 1 else np.concatenate([work.queries for work in batch])


def _parted(batch: list[_Work], all_found: Found, device: str, write: Write, scanned: bool = False) -> list[Hits]:
    """Each work's own lines, cut to its own k, and its reply."""
    rows, distances, effort = all_found
    began = time.perf_counter()
    replies = write(rows, distances, [work.wanted for work in batch])
    took = time.perf_counter() - began
    found = []
    start = 0
    for work, reply in zip(batch, replies, strict=True):
        end = start + work.size
        nprobe = int(effort[start:end].max())
        kept = rows[start:end, : work.k], distances[start:end, : work.k]
        found.append(Hits(*kept, nprobe, scanned, device, reply, took))
        start = end
    return found
