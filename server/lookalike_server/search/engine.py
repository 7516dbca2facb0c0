"""Searching one space: the batches of its index and, apart from them, those that read every embedding.

Arrays go in and arrays come out. The engine knows neither the wire nor an event
loop nor who waits: a search has a ticket and an inbox for its answer, so that
the engine could as well run behind another process.
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
from lookalike_server.columns.rows import Beside, Rows
from lookalike_server.common.limits import Limits
from lookalike_server.placement.placed_index import PlacedIndex
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits, Work, whole
from lookalike_server.search.lanes import IndexLane, Scan, ScanLane
from lookalike_server.search.search_engine import Queued

# A batch is cut so that it takes about so long: others wait for it, and no less time is spent on smaller ones.
_RUN_S = 0.1


class Engine:
    """The index of one space on its devices, and the stream of its embeddings for exact searches.

    An exact search of a compressed index takes as long as reading the space,
    so it has a queue and a thread of its own and delays nobody else. `scan`
    does it, where the embeddings are not compared here.
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
            # k within a factor of two, so that no caller pays for a far larger k than its own. Only equal ones where
            # the answer depends on it: nobody's answer may depend on who else asks.
            # With masks or without; those of a batch may all differ. Images that came since are those of one view.
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
        self._indexed = Batcher("search", workers, rules, None, observe("search"), recover, whole, leave)
        slow = dataclasses.replace(
            rules,
            max_age=limits.max_slow_queue_ms / 1000,
            max_run=limits.max_scan_ms / 1000,
            cost=lambda work: cost.of_scan(len(rows.ids), work.size, work.k),
        )
        scans = {"cpu": ScanLane(rows, entry, scan)}
        self._scanned = Batcher("scan", scans, slow, lambda: claim(1), observe("scan"), join=whole)

    def search(self, queries: Float32, k: int, plan: Plan, mask: RowMask | None = None) -> Hits:
        """The k nearest rows of each query (n, dim), of those that `mask` allows; blocks the calling thread.

        Queries need not be prepared. Each has min(k, images) neighbors, or
        min(k, mask.count): where the index finds fewer, every embedding is compared.
        OverloadedError, ExpiredError: see Batcher. DeviceError: the device failed.
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
        live: Beside | None = None,
    ) -> Queued:
        """Queue a search, whose Answer[Hits] or exception comes to `inbox` with `ticket`; see Batcher.put.

        Hits that are not complete are to be asked for again, with a plan that scans. `live` are images that came
        since the space was stored, which are found as well.
        """
        # The one place at which deleted images are left out of searches: masks of filters never have them.
        work = Work(queries, k, plan.nprobe, self._live if mask is None else mask, live)
        if plan.scan:
            return Queued("scan", self._scanned.put(work, ticket, inbox, peer, deadline))
        return Queued("search", self._indexed.put(work, ticket, inbox, peer, deadline))

    def withdraw(self, queued: Queued) -> None:
        """Take a search out of its queue, if it still waits there."""
        lane = self._scanned if queued.lane == "scan" else self._indexed
        lane.withdraw(queued.number)

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
        return [lane.device for lane in self._lanes.values()]

    def close(self) -> None:
        self._indexed.close()
        self._scanned.close()
        for lane in self._lanes.values():
            lane.close()


class _Blocking:
    """An inbox that one thread waits at."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[tuple[int, Answer[Hits] | Exception]] = SimpleQueue()

    def put(self, answers: Sequence[tuple[int, Answer[Hits] | Exception]]) -> None:
        for answer in answers:
            self._answers.put(answer)

    def get(self) -> Answer[Hits]:
        """The next answer; raises what it failed with."""
        _, outcome = self._answers.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
