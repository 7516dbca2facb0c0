"""What waits for a worker: a work, whose it is, what it costs, and the piece of it that goes into one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class Answer(NamedTuple, Generic[R]):
    """A result and how it came about; `size` is that of the whole batch, of several batches the largest."""

    result: R
    worker: str
    size: int
    queue_us: int
    run_us: int


class Inbox(Protocol):
    """Where answers go, each with the ticket that its work was queued with.

    `put` is called in the thread that has the answers, once for all of a batch:
    it must be quick, and raise nothing.
    """

    def put(self, answers: Sequence[tuple[int, Answer[Any] | Exception]]) -> None: ...


class Nobody:
    """An inbox whose answers nobody reads."""

    def put(self, answers: Sequence[tuple[int, Answer[Any] | Exception]]) -> None:
        pass


NOBODY = Nobody()


@dataclass(frozen=True)
class Rules(Generic[W]):
    """What may share a batch, and how much.

    Works with equal `key` can share a call. `size` is what a work counts
    against `max_batch` (of one batch) and `max_queue` (of all that a peer has
    waiting), `weight` its bytes against `max_weight`. `cost` is the work in
    any unit that its time is proportional to, its size by default; latency_model.py
    turns it into seconds.

    `cut` gives the units of a work from one position to before another. Works
    larger than a batch are run in such pieces, and the pieces of others pass
    between them. A batch is cut so that it takes about `cut_to` seconds.

    What has waited for more than `max_age` seconds is refused instead of run.
    So that this hardly happens, since nobody should wait in vain, what would
    wait behind others for more than half of it, by the latency of recent batches, is
    refused at once: the other half is there for the latency to change. A batch
    takes no more than that half, or twice what each batch costs. A batch that
    is run for more than `max_run` seconds has hung.
    """

    key: Callable[[W], Hashable]
    size: Callable[[W], int]
    max_batch: int
    max_queue: int
    weight: Callable[[W], int] = lambda work: 0
    max_weight: int = 0
    max_age: float = math.inf
    cost: Callable[[W], float] | None = None
    cut: Callable[[W, int, int], W] | None = None
    cut_to: float = math.inf
    max_run: float = math.inf

    def entry(
        self,
        work: W,
        peer: str,
        deadline: float | None,
        queued: float,
        ticket: int = -1,
        inbox: Inbox = NOBODY,
    ) -> Entry[W, Any]:
        """A work of a peer, as it waits."""
        size = self.size(work)
        cost = size if self.cost is None else self.cost(work)
        return Entry(
            work, size, self.weight(work), self.key(work), deadline, queued, ticket, inbox, peer, cost / max(1, size)
        )


@dataclass(eq=False, slots=True)
class Entry(Generic[W, R]):
    """A work that waits for its answer; `queued` and `deadline` in the time of `time.monotonic`.

    The answer goes to `inbox`, with `ticket`. `each` is the cost of one unit of its size. Workers have been given the
    first `taken` units; `parts` are the results of its pieces by their
    positions, while others of them are missing. `ran` is the seconds that its
    pieces took, `largest` the size of the largest batch that one was in.
    """

    work: W
    size: int
    weight: int
    key: Hashable
    deadline: float | None
    queued: float
    ticket: int = -1
    inbox: Inbox = NOBODY
    peer: str = ""
    each: float = 1.0
    number: int = -1
    taken: int = 0
    parts: dict[int, tuple[int, R]] = field(default_factory=dict)
    ran: float = 0.0
    largest: int = 0

    @property
    def left(self) -> int:
        """The units that no worker has been given."""
        return self.size - self.taken


class Piece(NamedTuple, Generic[W, R]):
    """The units of an entry from `start` to before `stop`, which a worker was given."""

    entry: Entry[W, R]
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        return self.stop - self.start == self.entry.size

    def work(self, cut: Callable[[W, int, int], W] | None) -> W:
        """What the worker is to run."""
        entry = self.entry
        return entry.work if self.whole or cut is None else cut(entry.work, self.start, self.stop)


Refused = tuple[Entry[W, Any], Exception]
