"""Search engine of a space whose index is on shards."""

from __future__ import annotations

from collections.abc import Callable

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_server.batching.batcher import ObserveLane
from lookalike_server.columns.rows import Rows
from lookalike_server.common.limits import Limits
from lookalike_server.placement.placed_index import PlacedIndex
from lookalike_server.placement.share import ShareFacts
from lookalike_server.search.engine import Engine
from lookalike_server.shards.remote import RemoteScan, RemoteSearcher, RemoteSpace

# Concurrent batches: shards work on one while the router assembles the next.
_UNDER_WAY = 4
_DEVICE = "shards"


class RemoteEngine(Engine):
    """An engine whose batches are searched by shards, several at a time."""

    def __init__(
        self,
        space: RemoteSpace,
        facts: ShareFacts,
        rows: Rows,
        entry: IndexEntry,
        limits: Limits,
        claim: Callable[[float], None] = lambda queries: None,
        observe: ObserveLane = lambda lane: None,
    ) -> None:
        self._space = space
        names = [f"{_DEVICE}/{number}" for number in range(1, _UNDER_WAY + 1)]
        placed = [PlacedIndex(RemoteSearcher(name, space, facts)) for name in names]
        scan = RemoteScan(space, limits.max_scan_ms / 1000)
        super().__init__(rows, entry, placed, limits, claim, observe, scan)
        for lane in self._lanes.values():
            # Callers need not know which of the workers ran a batch.
            lane.device = _DEVICE

    @property
    def lost(self) -> str:
        return super().lost or self._space.problem
