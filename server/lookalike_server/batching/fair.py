"""Whose turn it is: peers share the workers' time equally, and of one peer's calls the light ones pass the heavy.

Start-time fair queueing (Goyal, Vin and Cheng, 1996), which is deficit round
robin without its rounds: each peer has used so many seconds of the workers, and
the one that has used the least is next. A peer that comes anew begins where
those are that wait, so that nobody saves up turns by staying away.

Within a peer a call is due when it has waited for `_STRETCH` times as long as
it takes itself. So one query passes a call of hundreds, and the call of
hundreds is not passed for ever.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic

from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.load import Loads
from lookalike_server.batching.waiting import Entry, R, W

_STRETCH = 16
# What a turn counts before anybody knows how long it takes, so that peers take turns even then. In seconds.
_LEAST_S = 1e-9


@dataclass
class Flow(Generic[W, R]):
    """What a peer has waiting, and the seconds that it has used, from where it began."""

    used: float = 0.0
    entries: dict[int, Entry[W, R]] = field(default_factory=dict)
    loads: Loads = field(default_factory=Loads)
    size: int = 0
    weight: int = 0


class Fair(Generic[W, R]):
    """The flows of the peers that have something waiting, or have had of late."""

    def __init__(self, latency: LatencyModel, max_batch: int) -> None:
        self._latency = latency
        self._max_batch = max_batch
        self._flows: dict[str, Flow[W, R]] = {}
        # Where those begin that come anew: what the peer whose turn it was had used.
        self._begin = 0.0

    def flow(self, peer: str) -> Flow[W, R]:
        """The flow of a peer, a new one where it has none."""
        flow = self._flows.get(peer)
        if flow is None:
            flow = self._flows[peer] = Flow()
        if not flow.entries:
            flow.used = max(flow.used, self._begin)
        return flow

    @property
    def waiting(self) -> list[Flow[W, R]]:
        """The flows in which something waits."""
        return [flow for flow in self._flows.values() if flow.entries]

    def order(self) -> Iterator[Entry[W, R]]:
        """The entries as they should be run. Whoever takes one has to charge its flow before asking for the next."""
        self._forget()
        due = self._due()
        turns = [
            (flow.used, number, flow, iter(sorted(flow.entries.values(), key=due)))
            for number, flow in enumerate(self.waiting)
        ]
        heapq.heapify(turns)
        if turns:
            self._begin = turns[0][0]
        while turns:
            _, number, flow, entries = turns[0]
            entry = next(entries, None)
            if entry is None:
                heapq.heappop(turns)
                continue
            yield entry
            heapq.heapreplace(turns, (flow.used, number, flow, entries))

    def charge(self, entry: Entry[W, R], seconds: float) -> None:
        """An entry's peer is given so much of a worker's time."""
        self._flows[entry.peer].used += max(seconds, _LEAST_S)

    def clear(self) -> None:
        self._flows.clear()
        self._begin = 0.0

    def _due(self) -> Callable[[Entry[W, R]], float]:
        """When an entry is due, by the current latency, which is looked up once for all of them."""
        unit_s, batch_s, most = _STRETCH * self._latency.unit_s, _STRETCH * self._latency.batch_s, self._max_batch

        def due(entry: Entry[W, R]) -> float:
            return entry.queued + entry.size * entry.each * unit_s + math.ceil(entry.size / most) * batch_s

        return due

    def _forget(self) -> None:
        """Drop the peers that would begin anew where they were."""
        for peer in [peer for peer, flow in self._flows.items() if not flow.entries and flow.used <= self._begin]:
            del self._flows[peer]
