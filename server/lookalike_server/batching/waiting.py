"""Queued requests: the rules of a queue, the entries that wait in it, and the pieces that go into batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class Answer(NamedTuple, Generic[R]):
    """A result and its timings. `size` is the size of the batch, or of the largest one if there were several."""

    result: R
    worker: str
    size: int
    queue_us: int
    run_us: int


class Inbox(Protocol):
    """Receiver of answers, each with the ticket that its request was queued with.

    The thread that has the answers calls `put` once for all answers of a batch. `put` must be quick
    and must not raise.
    """

    def put(self, answers: Sequence[tuple[int, Answer[Any] | Exception]]) -> None: ...


class DiscardingInbox:
    """Inbox that drops all answers."""

    def put(self, answers: Sequence[tuple[int, Answer[Any] | Exception]]) -> None:
        pass


DISCARDING = DiscardingInbox()


@dataclass(frozen=True)
class Rules(Generic[W]):
    """Rules of a queue: which requests can share a batch, and the limits.

    Requests with equal `key` can share a call. `size` counts against `max_batch` (of one batch) and
    `max_queue` (of all that a peer has queued). `weight` is the bytes, counted against
    `max_weight`. `cost` is proportional to the run time, in any unit; the default is the size.
    latency_model.py converts it to seconds.

    `cut(work, start, stop)` returns the units `[start, stop)` of a request. Requests larger than a
    batch run in such pieces, interleaved with those of other requests. A batch is cut to about
    `cut_to` seconds.

    A request that has waited for more than `max_age` seconds is rejected instead of run. To make
    this rare, a request is rejected at once if its estimated wait behind others exceeds half of
    `max_age`; the other half allows for changes of the latency. A batch takes at most that half, or
    twice its fixed cost. A batch that runs for more than `max_run` seconds has hung.
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
        inbox: Inbox = DISCARDING,
    ) -> Entry[W, Any]:
        """Return the queue entry of a peer's request."""
        size = self.size(work)
        cost = size if self.cost is None else self.cost(work)
        return Entry(
            work, size, self.weight(work), self.key(work), deadline, queued, ticket, inbox, peer, cost / max(1, size)
        )


@dataclass(eq=False, slots=True)
class Entry(Generic[W, R]):
    """A queued request. `queued` and `deadline` are in the time of `time.monotonic`.

    The answer goes to `inbox`, with `ticket`. `each` is the cost of one unit of size. Workers have
    taken the first `taken` units. `parts` holds the results of finished pieces, by position, until
    the last one arrives. `ran` is the seconds that its pieces took; `largest` is the size of the
    largest batch that held one of them.
    """

    work: W
    size: int
    weight: int
    key: Hashable
    deadline: float | None
    queued: float
    ticket: int = -1
    inbox: Inbox = DISCARDING
    peer: str = ""
    each: float = 1.0
    number: int = -1
    taken: int = 0
    parts: dict[int, tuple[int, R]] = field(default_factory=dict)
    ran: float = 0.0
    largest: int = 0

    @property
    def left(self) -> int:
        """Units that no worker has taken."""
        return self.size - self.taken


class Piece(NamedTuple, Generic[W, R]):
    """Units `[start, stop)` of an entry, taken by a worker."""

    entry: Entry[W, R]
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        return self.stop - self.start == self.entry.size

    def work(self, cut: Callable[[W, int, int], W] | None) -> W:
        """Return the request to run: the whole one, or the cut piece."""
        entry = self.entry
        return entry.work if self.whole or cut is None else cut(entry.work, self.start, self.stop)


Refused = tuple[Entry[W, Any], Exception]
