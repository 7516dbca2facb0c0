"""Fair order: peers share the workers' time equally, and a peer's light calls pass its heavy ones.

Start-time fair queueing (Goyal, Vin and Cheng, 1996), which is deficit round robin without rounds.
Each peer has used some seconds of the workers, and the peer that used the least is next. A new peer
starts at the level of the waiting peers, so that no peer saves up turns by staying away.

Within a peer, a call is due after it has waited `_STRETCH` times its own duration. So one query
passes a call of hundreds, and the call of hundreds is not passed forever.
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
# Least charge of a turn in seconds, so that peers alternate even before a latency is known.
_LEAST_S = 1e-9


@dataclass
class Flow(Generic[W, R]):
    """Queued entries of one peer, and the seconds of worker time it has used (virtual time)."""

    used: float = 0.0
    entries: dict[int, Entry[W, R]] = field(default_factory=dict)
    loads: Loads = field(default_factory=Loads)
    size: int = 0
    weight: int = 0


class Fair(Generic[W, R]):
    """Flows of all peers that have, or recently had, entries queued."""

    def __init__(self, latency: LatencyModel, max_batch: int) -> None:
        self._latency = latency
        self._max_batch = max_batch
        self._flows: dict[str, Flow[W, R]] = {}
        # Virtual time at which a new peer starts: that of the peer served last.
        self._begin = 0.0

    def flow(self, peer: str) -> Flow[W, R]:
        """Return the flow of a peer; create it if it does not exist."""
        flow = self._flows.get(peer)
        if flow is None:
            flow = self._flows[peer] = Flow()
        if not flow.entries:
            flow.used = max(flow.used, self._begin)
        return flow

    @property
    def waiting(self) -> list[Flow[W, R]]:
        """Flows with queued entries."""
        return [flow for flow in self._flows.values() if flow.entries]

    def order(self) -> Iterator[Entry[W, R]]:
        """Yield the entries in the order to run them.

        The consumer must charge each taken entry before it asks for the next.
        """
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
        """Charge worker time to the peer of an entry."""
        self._flows[entry.peer].used += max(seconds, _LEAST_S)

    def clear(self) -> None:
        self._flows.clear()
        self._begin = 0.0

    def _due(self) -> Callable[[Entry[W, R]], float]:
        """Return the function of an entry's due time. It reads the current latency once for all entries."""
        unit_s, batch_s, most = _STRETCH * self._latency.unit_s, _STRETCH * self._latency.batch_s, self._max_batch

        def due(entry: Entry[W, R]) -> float:
            return entry.queued + entry.size * entry.each * unit_s + math.ceil(entry.size / most) * batch_s

        return due

    def _forget(self) -> None:
        """Drop idle peers that would restart at the same virtual time."""
        for peer in [peer for peer, flow in self._flows.items() if not flow.entries and flow.used <= self._begin]:
            del self._flows[peer]
