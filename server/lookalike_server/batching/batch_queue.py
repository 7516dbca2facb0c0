"""Queue of requests, bounded in number, bytes, and age for each peer. Used under the lock of batcher.py."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Generic

from lookalike_server.batching.batch import BatchMaker
from lookalike_server.batching.fair import Fair, Flow
from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.load import Load, Loads, grade
from lookalike_server.batching.waiting import Entry, Piece, R, Refused, Rules, W
from lookalike_server.common.errors import ExpiredError, OverloadedError
from lookalike_server.common.fair_share import beyond

_SHORTEST_RETRY_S = 0.05

# All peers together may have this many times the limit of one peer queued.
_PEERS = 4


@dataclass
class BatchQueue(Generic[W, R]):
    """Entries that wait for the workers, in the order of fair.py."""

    name: str
    rules: Rules[W]
    latency: LatencyModel
    waiting: int = 0
    weight: int = 0
    _entries: dict[int, Entry[W, R]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _loads: Loads = field(default_factory=Loads)
    # For each busy worker: the cost of its batch, and when the batch began.
    _running: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._fair: Fair[W, R] = Fair(self.latency, self.rules.max_batch)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, entry: Entry[W, R]) -> int:
        """Queue an entry and return its number, which `remove` takes.

        Raises OverloadedError if the queue is full or the estimated wait is too long. An entry
        larger than a peer's limit is accepted if the peer has nothing queued, because it could
        never be queued otherwise.
        """
        flow = self._fair.flow(entry.peer)
        self._require_room(flow, entry)
        self._require_time(flow, entry)
        entry.number = next(self._numbers)
        self._entries[entry.number] = flow.entries[entry.number] = entry
        self._count(flow, entry, 1, entry.size)
        return entry.number

    def remove(self, number: int) -> None:
        """Remove an entry, or its remaining units, if it is still queued."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            flow = self._fair.flow(entry.peer)
            del flow.entries[number]
            self._count(flow, entry, -1, -entry.left)

    def clear(self) -> list[Entry[W, R]]:
        """Remove and return all entries."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._fair.clear()
        self._loads = Loads()
        self.waiting = self.weight = 0
        return entries

    def next_batch(self, worker: str, now: float) -> tuple[list[Piece[W, R]], list[Refused[W]]]:
        """Return the next batch of a worker, and the expired entries with their errors.

        The batch counts as running until `record_run` or `mark_idle` is called for the worker.
        """
        refused = [(entry, error) for entry in list(self._entries.values()) if (error := self._too_late(entry, now))]
        for entry, _ in refused:
            self.remove(entry.number)
        batch: BatchMaker[W, R] = BatchMaker(self.rules, self.latency)
        for entry in self._fair.order():
            piece = batch.offer(entry)
            if piece is not None:
                self._given(piece)
            if batch.full:
                break
        if batch.pieces:
            self._running[worker] = batch.cost, now
            for piece in batch.pieces:
                self._fair.charge(piece.entry, self.latency.batch_s / len(batch.pieces))
        return batch.pieces, refused

    def record_run(self, worker: str, seconds: float) -> None:
        """Record that a worker ran its batch in `seconds`."""
        cost, _ = self._running.pop(worker)
        self.latency.record(cost, seconds)

    def mark_idle(self, worker: str) -> None:
        """Mark a worker as idle, whatever became of its last batch."""
        self._running.pop(worker, None)

    def _given(self, piece: Piece[W, R]) -> None:
        entry, units = piece.entry, piece.stop - piece.start
        flow = self._fair.flow(entry.peer)
        entry.taken = piece.stop
        if not entry.left:
            del self._entries[entry.number]
            del flow.entries[entry.number]
        self._count(flow, entry, 0 if entry.left else -1, -units)
        self._fair.charge(entry, units * entry.each * self.latency.unit_s)

    def _count(self, flow: Flow[W, R], entry: Entry[W, R], entries: int, units: int) -> None:
        """Add `entries` and `units` (negative: subtract) to the totals.

        An entry's bytes count until all of it is taken.
        """
        for loads in (self._loads, flow.loads):
            loads.count(entry, entries, units)
        flow.size += units
        flow.weight += entries * entry.weight
        self.waiting += units
        self.weight += entries * entry.weight

    def _too_late(self, entry: Entry[W, R], now: float) -> Exception | None:
        """Return the error for an entry that waited too long, else None.

        After its first piece, only its deadline counts.
        """
        if entry.deadline is not None and entry.deadline <= now:
            return ExpiredError(f"The deadline passed while waiting in the {self.name} queue.")
        if not entry.taken and now - entry.queued > self.rules.max_age:
            return OverloadedError(
                f"The call waited in the {self.name} queue for longer than {self.rules.max_age:g} s; retry later.",
                self._retry_s(now),
            )
        return None

    def _require_room(self, flow: Flow[W, R], entry: Entry[W, R]) -> None:
        rules, now = self.rules, entry.queued
        if beyond(flow.size, entry.size, rules.max_queue, len(flow.entries)):
            raise self._full(f"{flow.size} items of this peer are queued and the limit is {rules.max_queue}", now)
        if rules.max_weight and beyond(flow.weight, entry.weight, rules.max_weight, len(flow.entries)):
            raise self._full(f"{flow.weight} bytes of this peer are queued and the limit is {rules.max_weight}", now)
        peers = len(self._fair.waiting)
        for waits, theirs, more, most in (
            (self.waiting, flow.size, entry.size, rules.max_queue),
            (self.weight, flow.weight, entry.weight, rules.max_weight),
        ):
            if most and beyond(waits - theirs, theirs + more, _PEERS * most, peers):
                raise self._full(f"{waits} of {peers} peers are queued and the limit is {_PEERS * most}", now)

    def _require_time(self, flow: Flow[W, R], entry: Entry[W, R]) -> None:
        now, most = entry.queued, self.rules.max_age
        if most == math.inf or not (self._entries or self._running) or self._wait_s(now) <= most / 2:
            return
        before = self._before(flow, entry)
        # A call that waits only for running batches may wait the full `max_age`.
        longest = most / 2 if before.entries else most
        if self._wait_of(before, now) > longest:
            raise self._full(
                f"the estimated wait behind {before.entries} queued calls is longer than {longest:g} s", now
            )

    def _before(self, flow: Flow[W, R], entry: Entry[W, R]) -> Load:
        """Return the load that runs before an entry.

        It consists of the peer's entries of similar or lower cost, and at most as much of each other peer.
        """
        most = self.rules.max_batch
        load = mine = flow.loads.up_to(grade(entry) + 1, most)
        for other in self._fair.waiting:
            theirs = other.loads.all(most)
            if other is not flow and mine.cost and theirs.cost:
                load = load.plus(theirs, min(1.0, mine.cost / theirs.cost))
        return load

    def _wait_s(self, now: float) -> float:
        """Return the estimated seconds until the whole queue has been run."""
        return self._wait_of(self._loads.all(self.rules.max_batch), now)

    def _wait_of(self, load: Load, now: float) -> float:
        running = [(cost, now - since) for cost, since in self._running.values()]
        largest = BatchMaker[W, R](self.rules, self.latency).largest
        return self.latency.wait_s(load.cost, max(load.batches, math.ceil(load.cost / largest)), running)

    def _full(self, how: str, now: float) -> OverloadedError:
        return OverloadedError(
            f"The {self.name} queue is full: {how}; retry later, or send fewer at a time.", self._retry_s(now)
        )

    def _retry_s(self, now: float) -> float:
        return max(_SHORTEST_RETRY_S, self._wait_s(now))
