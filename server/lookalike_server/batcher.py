"""Many small requests, few large batches: one bounded queue and the threads that own the devices.

    submit -> admission -> queue -> a worker takes what fits together -> run -> an answer for each

A worker that is free takes the oldest entry at once and, with it, every queued
one that can share its call; nothing waits for company. So batches grow only
while the device is busy, which is when they pay. The batch is put together by
the thread that runs it, at the moment it can run it: what was cancelled or has
expired by then costs no device time, and no batch is made too early.

This module knows neither gRPC nor faiss nor torch.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lookalike_indexer.errors import DeviceError
from lookalike_server.errors import ExpiredError, OverloadedError

log = logging.getLogger(__name__)

W = TypeVar("W")
R = TypeVar("R")

# Takes the works of a batch and returns a result, or an error, for each.
Run = Callable[[list[W]], Sequence[R | Exception]]
# Is told of each batch that was run: its size, how long each work waited for it and how long it took, in seconds.
Observe = Callable[[int, Sequence[float], float], None]
# By a queue's name, what is to be told of its batches.
ObserveLane = Callable[[str], Observe | None]


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
class _Entry(Generic[W, R]):
    work: W
    size: int
    key: Hashable
    deadline: float | None
    queued: float
    answer: asyncio.Future[Answer[R]]


class Batcher(Generic[W, R]):
    """A queue and one owner thread for each of `workers`, which maps a worker's name to what it runs.

    `prepare` runs once in each owner thread, before its first batch; `observe`
    after each batch, in the thread that ran it.
    """

    def __init__(
        self,
        name: str,
        workers: Mapping[str, Run[W, R]],
        rules: Rules[W],
        prepare: Callable[[], None] | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._name = name
        self._observe = observe
        self._rules = rules
        self._prepare = prepare
        self._queue: dict[int, _Entry[W, R]] = {}
        self._numbers = itertools.count()
        self._waiting = 0
        self._last_run_s = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, args=(worker, run), name=f"{name}/{worker}", daemon=True)
            for worker, run in workers.items()
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, work: W, deadline: float | None = None) -> Answer[R]:
        """Queue a work and wait for its answer. `deadline` is in the time of `time.monotonic`.

        OverloadedError: the queue is full. ExpiredError: the deadline passed
        while it waited. Otherwise whatever its batch failed with. A cancelled
        caller leaves the queue at once.
        """
        future: asyncio.Future[Answer[R]] = asyncio.get_running_loop().create_future()
        entry = _Entry(work, self._rules.size(work), self._rules.key(work), deadline, time.monotonic(), future)
        number = next(self._numbers)
        with self._changed:
            self._admit(entry.size)
            self._queue[number] = entry
            self._waiting += entry.size
            self._changed.notify()
        try:
            return await future
        finally:
            # Finds it still queued only when this caller was cancelled.
            with self._changed:
                self._forget(number)

    @property
    def waiting(self) -> int:
        """The size of all that is queued."""
        return self._waiting

    def close(self) -> None:
        """Refuse what is queued and let each thread end after its current batch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the threads have ended; only after `close`."""
        for thread in self._threads:
            thread.join(timeout)

    def _admit(self, size: int) -> None:
        """Raise unless there is room. A work larger than the queue is taken when nothing waits."""
        if self._closed:
            raise DeviceError(f"The {self._name} queue is closed: the server is stopping.")
        if self._waiting and self._waiting + size > self._rules.max_queue:
            batches = math.ceil(self._waiting / self._rules.max_batch / len(self._threads))
            raise OverloadedError(
                f"The {self._name} queue is full: {self._waiting} wait and {self._rules.max_queue} may; "
                "ask again later, or send fewer at a time.",
                retry_after=max(0.05, batches * self._last_run_s),
            )

    def _forget(self, number: int) -> None:
        entry = self._queue.pop(number, None)
        if entry is not None:
            self._waiting -= entry.size

    def _serve(self, worker: str, run: Run[W, R]) -> None:
        if self._prepare:
            self._prepare()
        while (batch := self._take()) is not None:
            if batch:
                self._answer(worker, run, batch)
            # Neither a batch nor its vectors may live until the next one comes.
            del batch

    def _take(self) -> list[_Entry[W, R]] | None:
        """The next batch; None when closed. Answers what expired or cannot be run any more."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if self._closed:
                left = list(self._queue.values())
                self._queue.clear()
                self._waiting = 0
                _settle([(entry, DeviceError("The server is stopping.")) for entry in left])
                return None
            return self._next_batch()

    def _next_batch(self) -> list[_Entry[W, R]]:
        batch: list[_Entry[W, R]] = []
        expired: list[_Entry[W, R]] = []
        size = 0
        now = time.monotonic()
        for number, entry in list(self._queue.items()):
            if entry.deadline is not None and entry.deadline <= now:
                expired.append(entry)
                self._forget(number)
            elif not batch or (entry.key == batch[0].key and size + entry.size <= self._rules.max_batch):
                batch.append(entry)
                size += entry.size
                self._forget(number)
        if expired:
            late = ExpiredError(f"The deadline passed while waiting in the {self._name} queue.")
            _settle([(entry, late) for entry in expired])
        return batch

    def _answer(self, worker: str, run: Run[W, R], batch: list[_Entry[W, R]]) -> None:
        started = time.monotonic()
        try:
            results = run([entry.work for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results came back for a batch of {len(batch)}")
        except Exception as error:
            # Whatever it was, those who wait must hear of it, and the thread must go on.
            log.debug("a batch of %d failed in %s/%s", len(batch), self._name, worker, exc_info=True)
            results = [error] * len(batch)
        ended = time.monotonic()
        self._last_run_s = ended - started
        size = sum(entry.size for entry in batch)
        run_us = round((ended - started) * 1e6)
        _settle(
            [
                (
                    entry,
                    result
                    if isinstance(result, Exception)
                    else Answer(result, worker, size, round((started - entry.queued) * 1e6), run_us),
                )
                for entry, result in zip(batch, results, strict=True)
            ]
        )
        if self._observe:
            # After the answers: nobody waits for the measuring.
            self._observe(size, [started - entry.queued for entry in batch], ended - started)


def _settle(outcomes: Sequence[tuple[_Entry[W, R], Answer[R] | Exception]]) -> None:
    """Hand outcomes to their callers' event loop, in one step for all of them."""
    if not outcomes:
        return

    def hand_over() -> None:
        for entry, outcome in outcomes:
            if entry.answer.done():
                continue
            if isinstance(outcome, Exception):
                entry.answer.set_exception(outcome)
            else:
                entry.answer.set_result(outcome)

    try:
        outcomes[0][0].answer.get_loop().call_soon_threadsafe(hand_over)
    except RuntimeError:
        log.debug("nobody is left to hear of %d answers: their event loop has closed", len(outcomes))
