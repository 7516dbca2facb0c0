"""What waits for a device: bounded in number, bytes and age. Used under the lock of batcher.py, which see."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from lookalike_server.errors import ExpiredError, OverloadedError
from lookalike_server.pace import Pace

W = TypeVar("W")
R = TypeVar("R")

_SHORTEST_RETRY_S = 0.05


class Answer(NamedTuple, Generic[R]):
    """A result and how it came about; `size` is that of the whole batch."""

    result: R
    worker: str
    size: int
    queue_us: int
    run_us: int


@dataclass(frozen=True)
class Rules(Generic[W]):
    """What may share a batch, and how much.

    Works with equal `key` can share a call; `size` is what a work counts
    against `max_batch` (of one batch) and `max_queue` (of all that wait),
    `weight` its bytes against `max_weight` (of all that wait). What has waited
    for more than `max_age` seconds is refused instead of run. So that this
    hardly happens, since nobody should wait in vain, what would wait behind
    others for more than half of it, by the pace of late, is refused at once:
    the other half is there for the pace to change. A batch is kept so small
    that it takes half of it, too, or twice what each batch costs. A batch that
    is run for more than `max_run` seconds has hung.
    """

    key: Callable[[W], Hashable]
    size: Callable[[W], int]
    max_batch: int
    max_queue: int
    weight: Callable[[W], int] = lambda work: 0
    max_weight: int = 0
    max_age: float = math.inf
    max_run: float = math.inf


@dataclass(eq=False, slots=True)
class Entry(Generic[W, R]):
    """A work that waits for its answer; `queued` and `deadline` in the time of `time.monotonic`."""

    work: W
    size: int
    weight: int
    key: Hashable
    deadline: float | None
    queued: float
    answer: asyncio.Future[Answer[R]]


Refused = tuple[Entry[W, R], Exception]


@dataclass
class BatchQueue(Generic[W, R]):
    """Entries in the order of their arrival."""

    name: str
    rules: Rules[W]
    pace: Pace
    waiting: int = 0
    weight: int = 0
    _entries: dict[int, Entry[W, R]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    # The size of those that can share batches, by key, and how many batches it takes.
    _sizes: dict[Hashable, int] = field(default_factory=dict)
    _batches: int = 0
    # The size of the batch that a worker runs, and since when.
    _running: dict[str, tuple[int, float]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, entry: Entry[W, R]) -> int:
        """Let an entry wait; its number takes it away again. OverloadedError: no room, or it would wait too long.

        An entry that is larger than the queue is taken when nothing waits, or it never could be.
        """
        rules = self.rules
        if self._entries and self.waiting + entry.size > rules.max_queue:
            raise self._full(f"{self.waiting} wait and {rules.max_queue} may", entry.queued)
        if self._entries and rules.max_weight and self.weight + entry.weight > rules.max_weight:
            raise self._full(f"{self.weight} bytes wait and {rules.max_weight} may", entry.queued)
        # Who waits for nothing but a running batch may wait for it.
        longest = rules.max_age / 2 if self._entries else rules.max_age
        if (self._entries or self._running) and self._wait_s(entry.queued) > longest:
            raise self._full(
                f"those {self.waiting} who wait, and what is run, will take longer than {longest:g} s", entry.queued
            )
        number = next(self._numbers)
        self._entries[number] = entry
        self.weight += entry.weight
        self._count(entry.key, entry.size)
        return number

    def remove(self, number: int) -> None:
        """Forget an entry, if it still waits."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            self.weight -= entry.weight
            self._count(entry.key, -entry.size)

    def clear(self) -> list[Entry[W, R]]:
        """Take all of them away."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._sizes.clear()
        self.waiting = self.weight = self._batches = 0
        return entries

    def take(self, worker: str, now: float) -> tuple[list[Entry[W, R]], list[Refused[W, R]]]:
        """The next batch of a worker, and those who waited too long, with what they are to be told.

        The batch counts as running until `ran` or `rests` is called for the worker.
        """
        largest = self._largest_batch()
        batch: list[Entry[W, R]] = []
        refused: list[Refused[W, R]] = []
        size = 0
        for number, entry in list(self._entries.items()):
            if entry.deadline is not None and entry.deadline <= now:
                late = ExpiredError(f"The deadline passed while waiting in the {self.name} queue.")
                refused.append((entry, late))
                self.remove(number)
            elif now - entry.queued > self.rules.max_age:
                refused.append((entry, self._stale(now)))
                self.remove(number)
            elif not batch or (entry.key == batch[0].key and size + entry.size <= largest):
                batch.append(entry)
                size += entry.size
                del self._entries[number]
                self.weight -= entry.weight
        if batch:
            self._count(batch[0].key, -size)
            self._running[worker] = size, now
        return batch, refused

    def ran(self, worker: str, seconds: float) -> None:
        """A worker has run its batch, in so many seconds."""
        size, _ = self._running.pop(worker)
        self.pace.ran(size, seconds)

    def rests(self, worker: str) -> None:
        """A worker runs nothing, whatever became of its last batch."""
        self._running.pop(worker, None)

    def _count(self, key: Hashable, more: int) -> None:
        before = self._sizes.get(key, 0)
        after = before + more
        if after:
            self._sizes[key] = after
        else:
            self._sizes.pop(key, None)
        self.waiting += more
        self._batches += math.ceil(after / self.rules.max_batch) - math.ceil(before / self.rules.max_batch)

    def _largest_batch(self) -> float:
        """The size that a batch may have, if it is of more than one entry."""
        return min(self.rules.max_batch, self.pace.within(self.rules.max_age / 2))

    def _wait_s(self, now: float) -> float:
        """How long it takes until all that waits has been run."""
        batches = max(self._batches, math.ceil(self.waiting / self._largest_batch()))
        running = [(size, now - since) for size, since in self._running.values()]
        return self.pace.wait_s(self.waiting, batches, running)

    def _full(self, how: str, now: float) -> OverloadedError:
        return OverloadedError(
            f"The {self.name} queue is full: {how}; ask again later, or send fewer at a time.", self._retry_s(now)
        )

    def _stale(self, now: float) -> OverloadedError:
        return OverloadedError(
            f"The call waited in the {self.name} queue for longer than {self.rules.max_age:g} s; ask again later.",
            self._retry_s(now),
        )

    def _retry_s(self, now: float) -> float:
        return max(_SHORTEST_RETRY_S, self._wait_s(now))
