"""What waits for a device: bounded in number, bytes and age. Used under the lock of batcher.py, which see."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lookalike_server.errors import ExpiredError, OverloadedError

W = TypeVar("W")
R = TypeVar("R")

_SHORTEST_RETRY_S = 0.05


@dataclass(frozen=True)
class Answer(Generic[R]):
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
    for more than `max_age` seconds is refused instead of run.
    """

    key: Callable[[W], Hashable]
    size: Callable[[W], int]
    max_batch: int
    max_queue: int
    weight: Callable[[W], int] = lambda work: 0
    max_weight: int = 0
    max_age: float = math.inf


@dataclass(eq=False)
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
    waiting: int = 0
    weight: int = 0
    _entries: dict[int, Entry[W, R]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, entry: Entry[W, R], wait_s: float) -> int:
        """Let an entry wait; its number takes it away again. OverloadedError: no room, come back in `wait_s`.

        An entry that is larger than the queue is taken when nothing waits, or it never could be.
        """
        rules = self.rules
        if self._entries and self.waiting + entry.size > rules.max_queue:
            raise self._full(f"{self.waiting} wait and {rules.max_queue} may", wait_s)
        if self._entries and rules.max_weight and self.weight + entry.weight > rules.max_weight:
            raise self._full(f"{self.weight} bytes wait and {rules.max_weight} may", wait_s)
        number = next(self._numbers)
        self._entries[number] = entry
        self.waiting += entry.size
        self.weight += entry.weight
        return number

    def remove(self, number: int) -> None:
        """Forget an entry, if it still waits."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            self.waiting -= entry.size
            self.weight -= entry.weight

    def clear(self) -> list[Entry[W, R]]:
        """Take all of them away."""
        entries = list(self._entries.values())
        self._entries.clear()
        self.waiting = self.weight = 0
        return entries

    def take(self, now: float, wait_s: float) -> tuple[list[Entry[W, R]], list[Refused[W, R]]]:
        """The next batch, and those who waited too long, with what they are to be told."""
        batch: list[Entry[W, R]] = []
        refused: list[Refused[W, R]] = []
        size = 0
        for number, entry in list(self._entries.items()):
            if entry.deadline is not None and entry.deadline <= now:
                late = ExpiredError(f"The deadline passed while waiting in the {self.name} queue.")
                refused.append((entry, late))
                self.remove(number)
            elif now - entry.queued > self.rules.max_age:
                refused.append((entry, self._stale(wait_s)))
                self.remove(number)
            elif not batch or (entry.key == batch[0].key and size + entry.size <= self.rules.max_batch):
                batch.append(entry)
                size += entry.size
                self.remove(number)
        return batch, refused

    def _full(self, how: str, wait_s: float) -> OverloadedError:
        return OverloadedError(
            f"The {self.name} queue is full: {how}; ask again later, or send fewer at a time.",
            retry_after=max(_SHORTEST_RETRY_S, wait_s),
        )

    def _stale(self, wait_s: float) -> OverloadedError:
        return OverloadedError(
            f"The call waited in the {self.name} queue for longer than {self.rules.max_age:g} s; ask again later.",
            retry_after=max(_SHORTEST_RETRY_S, wait_s),
        )
