"""Engine of a shard: searches its share of a space for a router."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.errors import NotBuiltError
from lookalike_server.batching import cost
from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import ObserveLane, Rules
from lookalike_server.columns.rows import Rows
from lookalike_server.common.limits import Limits
from lookalike_server.common.share import Share
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.share import Candidates, ShareFacts, ShareIndex
from lookalike_server.placement.strategies import RawHits
from lookalike_server.search.engine import Engine
from lookalike_server.search.lanes import EmbeddingScan
from lookalike_server.search.search_engine import Queued

# The router has already queued its own callers fairly, so all of its requests may wait here.
_MOST_QUEUED = 1 << 20


class ShareWork(NamedTuple):
    """Request of a router: prepared queries (n, dim), as Searcher.search takes them.

    `candidates` is the size of the first stage, 0 for the default. With `scan`, the embeddings of
    the share are compared; its masks cover all rows of the space.
    """

    queries: Float32
    k: int
    nprobe: int
    wanted: Int64
    masks: QueryMasks | None
    candidates: int = 0
    scan: bool = False

    @property
    def size(self) -> int:
        return len(self.queries)


Found = RawHits | Candidates


class ShareEngine(Engine):
    """Share of an index and of the embeddings of its space. It answers only routers."""

    def __init__(
        self,
        rows: Rows,
        entry: IndexEntry,
        share: Share,
        index: ShareIndex,
        limits: Limits,
        claim: Callable[[float], None] = lambda queries: None,
        observe: ObserveLane = lambda lane: None,
    ) -> None:
        self.entry = entry
        self.share = share
        self._index = index
        self._claim = claim
        self._scan = EmbeddingScan(rows, entry.metric, share.range_of(len(rows.ids)))

        def rules(age_ms: int, run_ms: int, cost_of: Callable[[ShareWork], float]) -> Rules[ShareWork]:
            # No batching here: the router has already batched its requests.
            return Rules(
                key=id,
                size=lambda work: work.size,
                max_batch=_MOST_QUEUED,
                max_queue=_MOST_QUEUED,
                max_age=age_ms / 1000,
                max_run=run_ms / 1000,
                cost=cost_of,
            )

        self._searching: AwaitedBatcher[ShareWork, Found] = AwaitedBatcher(
            "search",
            {"cpu": self._searched},
            rules(
                limits.max_queue_ms,
                limits.max_search_ms,
                lambda work: cost.of_search(entry, work.size, work.k, work.nprobe) / share.of,
            ),
            None,
            observe("search"),
        )
        self._scanning: AwaitedBatcher[ShareWork, Found] = AwaitedBatcher(
            "scan",
            {"cpu": self._scanned_all},
            rules(
                limits.max_slow_queue_ms,
                limits.max_scan_ms,
                lambda work: cost.of_scan(math.ceil(len(rows.ids) / share.of), work.size, work.k),
            ),
            lambda: claim(1),
            observe("scan"),
        )

    @property
    def facts(self) -> ShareFacts:
        """Facts of the index that a router needs."""
        return self._index.facts

    async def search_share(self, work: ShareWork, deadline: float | None = None) -> Found:
        """Return this share's result of a request. Raises what AwaitedBatcher.submit raises."""
        batcher = self._scanning if work.scan else self._searching
        return (await batcher.submit(work, deadline)).result

    def put(self, *arguments: object, **named: object) -> NoReturn:
        """Raise NotBuiltError: a share of the images cannot answer a caller."""
        raise NotBuiltError(
            f"This server searches only shard {self.share} of the images; call the router "
            "(lookalike route), or a server of the whole collection."
        )

    def withdraw(self, queued: Queued) -> None:
        """Do nothing: `put` never queues a search."""

    @property
    def waiting(self) -> dict[str, int]:
        return {"search": self._searching.waiting, "scan": self._scanning.waiting}

    def check_threads(self) -> list[tuple[str, str]]:
        lanes = {"search": self._searching, "scan": self._scanning}
        return [(lane, sentence) for lane, batcher in lanes.items() for sentence in batcher.check_threads()]

    @property
    def lost(self) -> str:
        return self._searching.lost

    @property
    def devices(self) -> list[str]:
        return ["cpu"]

    def close(self) -> None:
        self._searching.close()
        self._scanning.close()

    def _searched(self, batch: list[ShareWork]) -> Sequence[Found]:
        found: list[Found] = []
        for work in batch:
            self._claim(work.size)
            found.append(
                self._index.search(work.queries, work.k, work.nprobe, work.wanted, work.masks, work.candidates)
            )
        return found

    def _scanned_all(self, batch: list[ShareWork]) -> Sequence[Found]:
        found: list[Found] = []
        for work in batch:
            rows, distances = self._scan(work.queries, work.k, work.masks)
            found.append(RawHits(rows, distances, np.zeros(len(rows), np.int64)))
        return found
