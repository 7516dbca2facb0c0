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
    `weight` its bytes against `max_weight` (of all that wait). What would wait
    for more than `max_age` seconds is refused at once, by the pace of late;
    what has waited so long all the same is refused instead of run; and a batch
    is kept so small that it takes no longer than half of it.
    """

    key: Callable[[W], Hashable]
    size: Callable[[W], int]
    max_batch: int
    max_queue: int
    weight: Callable[[W], int] = lambda work: 0
    max_weight: int = 0
    max_age: float = math.inf


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

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, entry: Entry[W, R]) -> int:
        """Let an entry wait; its number takes it away again. OverloadedError: no room, or it would wait too long.

        An entry that is larger than the queue is taken when nothing waits, or it never could be.
        """
        rules = self.rules
        if self._entries and self.waiting + entry.size > rules.max_queue:
            raise self._full(f"{self.waiting} wait and {rules.max_queue} may")
        if self._entries and rules.max_weight and self.weight + entry.weight > rules.max_weight:
            raise self._full(f"{self.weight} bytes wait and {rules.max_weight} may")
        if self._entries and self._wait_s() > rules.max_age:
            raise self._full(f"those {self.waiting} who wait will take longer than the {rules.max_age:g} s that it may")
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

    def take(self, now: float) -> tuple[list[Entry[W, R]], list[Refused[W, R]]]:
        """The next batch, and those who waited too long, with what they are to be told."""
        most = min(self.rules.max_batch, self.pace.within(self.rules.max_age / 2))
        batch: list[Entry[W, R]] = []
        refused: list[Refused[W, R]] = []
        size = 0
        for number, entry in list(self._entries.items()):
            if entry.deadline is not None and entry.deadline <= now:
                late = ExpiredError(f"The deadline passed while waiting in the {self.name} queue.")
                refused.append((entry, late))
                self.remove(number)
            elif now - entry.queued > self.rules.max_age:
                refused.append((entry, self._stale()))
                self.remove(number)
            elif not batch or (entry.key == batch[0].key and size + entry.size <= most):
                batch.append(entry)
                size += entry.size
                del self._entries[number]
                self.weight -= entry.weight
        if batch:
            self._count(batch[0].key, -size)
        return batch, refused

    def _count(self, key: Hashable, more: int) -> None:
        before = self._sizes.get(key, 0)
        after = before + more
        if after:
            self._sizes[key] = after
        else:
            self._sizes.pop(key, None)
        self.waiting += more
        self._batches += math.ceil(after / self.rules.max_batch) - math.ceil(before / self.rules.max_batch)

    def _wait_s(self) -> float:
        return self.pace.wait_s(self.waiting, self._batches)

    def _full(self, how: str) -> OverloadedError:
        return OverloadedError(
            f"The {self.name} queue is full: {how}; ask again later, or send fewer at a time.", self._retry_s()
        )

    def _stale(self) -> OverloadedError:
        return OverloadedError(
            f"The call waited in the {self.name} queue for longer than {self.rules.max_age:g} s; ask again later.",
            self._retry_s(),
        )

    def _retry_s(self) -> float:
        return max(_SHORTEST_RETRY_S, self._wait_s())
