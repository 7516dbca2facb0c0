"""Search engine of one space: queues for its index and, separately, for scans of all embeddings.

Arrays go in and arrays come out. The engine knows neither the wire format nor an event loop. A
search has a ticket and an inbox for its answer, so the engine can also run in another process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_server.batching import cost
from lookalike_server.batching.batcher import Answer, Batcher, ObserveLane, Rules, Run
from lookalike_server.batching.waiting import Inbox
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.columns.rows import Rows, UnindexedVectors
from lookalike_server.common.limits import Limits
from lookalike_server.placement.placed_index import PlacedIndex
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits, Work, join_hits
from lookalike_server.search.lanes import IndexLane, Scan, ScanLane
from lookalike_server.search.search_engine import Queued

# Target seconds of a batch. A longer one delays other requests; smaller ones would not save time.
_RUN_S = 0.1


class Engine:
    """Index of one space on its devices, and the scan of its embeddings for exact searches.

    An exact search of a compressed index takes as long as reading the space. So it has its own
    queue and thread, and delays no other search. `scan` replaces the scan of this process, for
    example by shards.
    """

    def __init__(
        self,
        rows: Rows,
        entry: IndexEntry,
        indexes: Sequence[PlacedIndex],
        limits: Limits,
        claim: Callable[[float], None] = lambda queries: None,
        observe: ObserveLane = lambda lane: None,
        scan: Scan | None = None,
    ) -> None:
        self.entry = entry
        self._live = rows.live
        exact_k = any(placed.searcher.depends_on_k for placed in indexes)
        rules: Rules[Work] = Rules(
            # A batch shares calls whose k is within a factor of two, so that no caller pays for a far larger k. If the
            # answer depends on k, only equal k share a batch, so that no answer depends on other callers. Either all
            # requests of a batch have masks, which may differ, or none. All have the same live images.
            key=lambda work: (
                work.nprobe,
                work.k if exact_k else work.k.bit_length(),
                work.mask is None,
                None if work.live is None else id(work.live),
            ),
            size=lambda work: work.size,
            max_batch=limits.max_batch,
            max_queue=limits.max_queue,
            max_age=limits.max_queue_ms / 1000,
            max_run=limits.max_search_ms / 1000,
            cost=lambda work: cost.of_search(entry, work.size, work.k, work.nprobe),
            cut=Work.part,
            cut_to=_RUN_S,
        )
        beside = rows.beside(entry.metric)
        self._lanes = {placed.searcher.name: IndexLane(placed, entry, claim, rows, beside) for placed in indexes}
        workers: dict[str, Run[Work, Hits]] = dict(self._lanes)
        recover = {name: lane.recover for name, lane in self._lanes.items()}
        leave = {
            placed.searcher.name: self._lanes[placed.searcher.name].leave for placed in indexes if placed.elsewhere
        }
        self._indexed = Batcher("search", workers, rules, None, observe("search"), recover, join_hits, leave)
        slow = dataclasses.replace(
            rules,
            max_age=limits.max_slow_queue_ms / 1000,
            max_run=limits.max_scan_ms / 1000,
            cost=lambda work: cost.of_scan(len(rows.ids), work.size, work.k),
        )
        scans = {"cpu": ScanLane(rows, entry, scan)}
        self._scanned = Batcher("scan", scans, slow, lambda: claim(1), observe("scan"), join=join_hits)

    def search(self, queries: Float32, k: int, plan: Plan, mask: RowMask | None = None) -> Hits:
        """Return the k nearest rows of each query (n, dim) among those that `mask` allows. Blocks the calling thread.

        Queries need not be normalized. Each gets min(k, images) neighbors, or min(k, mask.count):
        if the index finds fewer, every embedding is compared. Raises OverloadedError and
        ExpiredError as Batcher does, and DeviceError if the device failed.
        """
        inbox = _Blocking()
        self.put(queries, k, plan, mask, 0, inbox)
        hits = inbox.get().result
        if not hits.complete:
            self.put(queries, k, dataclasses.replace(plan, scan=True), mask, 0, inbox)
            hits = inbox.get().result
        return hits

    def put(
        self,
        queries: Float32,
        k: int,
        plan: Plan,
        mask: RowMask | None,
        ticket: int,
        inbox: Inbox,
        peer: str = "",
        deadline: float | None = None,
        live: UnindexedVectors | None = None,
    ) -> Queued:
        """Queue a search. Its Answer[Hits] or exception goes to `inbox` with `ticket`; see Batcher.put.

        If the hits are not complete, the caller must search again with a plan that scans. `live`
        holds images added since the space was stored, which are searched as well.
        """
        # The only place where searches without a filter leave out deleted images. Masks of filters never contain them.
        work = Work(queries, k, plan.nprobe, self._live if mask is None else mask, live)
        if plan.scan:
            return Queued("scan", self._scanned.put(work, ticket, inbox, peer, deadline))
        return Queued("search", self._indexed.put(work, ticket, inbox, peer, deadline))

    def withdraw(self, queued: Queued) -> None:
        """Remove a search from its queue if it is still queued."""
        lane = self._scanned if queued.lane == "scan" else self._indexed
        lane.withdraw(queued.number)

    @property
    def waiting(self) -> dict[str, int]:
        """Number of queued queries by lane."""
        return {"search": self._indexed.waiting, "scan": self._scanned.waiting}

    def check_threads(self) -> list[tuple[str, str]]:
        """Give up hung threads. Return the lane and a sentence for each. Thread-safe."""
        lanes = {"search": self._indexed, "scan": self._scanned}
        return [(lane, sentence) for lane, batcher in lanes.items() for sentence in batcher.check_threads()]

    @property
    def lost(self) -> str:
        """Why no device has the index; "" if one has."""
        return self._indexed.lost

    @property
    def devices(self) -> list[str]:
        """Devices that hold the index now. They may differ from the original ones after a recovery."""
        return [lane.device for lane in self._lanes.values()]

    def close(self) -> None:
        self._indexed.close()
        self._scanned.close()
        for lane in self._lanes.values():
            lane.close()


class _Blocking:
    """Inbox that one thread waits on."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[tuple[int, Answer[Hits] | Exception]] = SimpleQueue()

    def put(self, answers: Sequence[tuple[int, Answer[Hits] | Exception]]) -> None:
        for answer in answers:
            self._answers.put(answer)

    def get(self) -> Answer[Hits]:
        """Return the next answer, or raise its error."""
        _, outcome = self._answers.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
