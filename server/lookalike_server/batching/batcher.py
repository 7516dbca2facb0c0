"""Dynamic batching: one bounded queue, and threads that own the devices.

    put -> admission -> queue -> a worker takes what fits together -> run -> an answer for each

A free worker takes the entry whose turn it is (fair.py), together with every queued entry that can
share its call (batch.py). It never waits for more, so batches grow only while the device is busy,
which is when they pay. A request too large for one batch runs in pieces. The thread that runs a
batch also assembles it, at the moment it can run it. So canceled and expired requests cost no
device time.

If a device fails, its worker recovers it in its own thread, which owns the device. Meanwhile the
other workers continue. If there is no other worker, callers get the error at once. A hung thread
cannot be ended: `look`, called periodically, answers its callers with an error. The worker takes
batches again when its thread returns.

This module does not depend on gRPC, faiss, torch, or an event loop: answers go to an inbox, by
ticket. Callers in an event loop use awaited.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from lookalike_indexer.errors import DeviceError
from lookalike_server.batching.batch_queue import BatchQueue
from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.outcomes import FinishedBatch, Join, Outcome, settle
from lookalike_server.batching.running_batches import RunningBatches
from lookalike_server.batching.waiting import Answer, Entry, Inbox, Piece, Rules

__all__ = ["Answer", "Batcher", "Observe", "ObserveLane", "Rules", "Run"]

log = logging.getLogger(__name__)

W = TypeVar("W")
R = TypeVar("R")

# Takes the requests of a batch; returns a result or an error for each.
Run = Callable[[list[W]], Sequence[R | Exception]]
# Receives, for each batch that ran: its size, each request's seconds in the queue, and the seconds it ran.
Observe = Callable[[int, Sequence[float], float], None]
# Returns the observer of the queue with this name, or None.
ObserveLane = Callable[[str], Observe | None]

# Seconds until an ended thread is replaced, and between attempts to recover a device.
_RESTART_S = 0.5
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0


class Batcher(Generic[W, R]):
    """Queue with one owner thread per worker. `workers` maps a worker's name to its run function.

    `prepare` runs once in each owner thread, before its first batch. `observe` runs after each
    batch, in the thread that ran it. `recover` runs in the thread of a worker whose batch failed
    with DeviceError. It is retried with exponential backoff while it raises; until then the worker
    takes no batch. `leave` detaches a worker from a hung device: it runs in a new owner thread that
    replaces the hung one. `join` is required if the rules cut requests into pieces.
    """

    def __init__(
        self,
        name: str,
        workers: Mapping[str, Run[W, R]],
        rules: Rules[W],
        prepare: Callable[[], None] | None = None,
        observe: Observe | None = None,
        recover: Mapping[str, Callable[[], None]] | None = None,
        join: Join[R] | None = None,
        leave: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._name = name
        self._observe = observe
        self._prepare = prepare
        self._workers = dict(workers)
        self._recover = dict(recover or {})
        self._leave = dict(leave or {})
        self._join = join
        self._cut = rules.cut
        self._queue: BatchQueue[W, R] = BatchQueue(name, rules, LatencyModel(len(workers)))
        # Workers that take no batches, with the reason.
        self._down: dict[str, str] = {}
        self._under_way: RunningBatches[W, R] = RunningBatches()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        for worker in self._workers:
            self._start(worker)

    def put(self, work: W, ticket: int, inbox: Inbox, peer: str = "", deadline: float | None = None) -> int:
        """Queue a request and return its number, which `withdraw` takes. `deadline` is in the time of `time.monotonic`.

        The inbox gets, with the ticket, an Answer or an exception: OverloadedError if the request
        waited too long, or ExpiredError if its deadline passed in the queue. Otherwise the
        exception is the batch's error.

        Raises OverloadedError if the queue is full, and DeviceError if no worker has a device.
        """
        entry: Entry[W, R] = self._queue.rules.entry(work, peer, deadline, time.monotonic(), ticket, inbox)
        with self._changed:
            if self._closed.is_set():
                raise DeviceError(f"The {self._name} queue is closed: the server is stopping.")
            if lost := self.lost:
                raise DeviceError(lost)
            number = self._queue.add(entry)
            self._changed.notify()
        return number

    def withdraw(self, number: int) -> None:
        """Remove a request if it is still queued. Its inbox may get an answer nevertheless."""
        with self._changed:
            self._queue.remove(number)

    @property
    def waiting(self) -> int:
        """Total size of the queued requests."""
        return self._queue.waiting

    @property
    def lost(self) -> str:
        """Why no worker can take a batch; "" if one can."""
        down = dict(self._down)
        return next(iter(down.values())) if len(down) == len(self._workers) else ""

    def check_threads(self) -> list[str]:
        """Give up workers that exceed `max_run` and return a sentence about each. Thread-safe.

        Their callers get an error at once. If no other worker is left, so do all queued callers.
        """
        limit = self._queue.rules.max_run
        told: list[str] = []
        outcomes: list[Outcome[W, R]] = []
        with self._changed:
            for worker, batch in self._under_way.overdue(limit).items():
                sentence = (
                    f"{self._name}/{worker} has not returned for {limit:g} s: it hangs, and accepts no more calls."
                )
                self._down[worker] = sentence
                self._queue.mark_idle(worker)
                outcomes += [(piece.entry, DeviceError(sentence)) for piece in batch]
                told.append(sentence)
                if worker in self._leave:
                    self._replace(worker)
            if told and self.lost:
                outcomes += [(entry, DeviceError(self.lost)) for entry in self._queue.clear()]
            self._forget(outcomes)
        settle(outcomes)
        return told

    def close(self) -> None:
        """Reject what is queued; each thread ends after its current batch."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the threads have ended. Call `close` first."""
        for thread in list(self._threads.values()):
            thread.join(timeout)

    def _start(self, worker: str, first: Callable[[], None] | None = None) -> None:
        thread = threading.Thread(
            target=self._run_owner, args=(worker, first), name=f"{self._name}/{worker}", daemon=True
        )
        self._threads[worker] = thread
        thread.start()

    def _replace(self, worker: str) -> None:
        """Start another owner thread in place of a hung one, which ends if it ever returns."""
        self._under_way.ended(worker)
        self._start(worker, self._leave[worker])

    def _is_owner(self, worker: str) -> bool:
        """Return whether the current thread still owns the worker, that is, was not replaced."""
        return self._threads[worker] is threading.current_thread()

    def _run_owner(self, worker: str, first: Callable[[], None] | None) -> None:
        """Run the owner thread. If it ends unexpectedly, another replaces it and queued requests stay queued."""
        try:
            if first is not None:
                self._recovered(worker, first)
            self._serve(worker)
        except BaseException:
            if not self._is_owner(worker):
                return
            log.exception("the thread %s/%s ended unexpectedly; the server started another one", self._name, worker)
            self._down[worker] = (
                f"The thread of {self._name}/{worker} ended; the server started another one. Retry the call."
            )
            if self._closed.wait(_RESTART_S):
                self._take(worker)  # answers the queued callers
            else:
                self._start(worker)

    def _serve(self, worker: str) -> None:
        if self._prepare:
            self._prepare()
        self._down.pop(worker, None)
        while self._is_owner(worker) and (batch := self._take(worker)) is not None:
            healthy = not batch or self._answer(worker, batch)
            # Free the batch and its vectors before waiting for the next batch.
            del batch
            if not healthy and worker in self._recover and self._is_owner(worker):
                self._recovered(worker, self._recover[worker])

    def _take(self, worker: str) -> list[Piece[W, R]] | None:
        """Wait for the next batch and return it, or None if closed. Answers expired entries."""
        with self._changed:
            self._queue.mark_idle(worker)
            while not self._queue and not self._closed.is_set():
                self._changed.wait()
            if self._closed.is_set():
                settle([(entry, DeviceError("The server is stopping.")) for entry in self._queue.clear()])
                return None
            batch, refused = self._queue.next_batch(worker, time.monotonic())
            if self._queue:
                # Entries remain, for example the other pieces of a large request, and each `put` notified only one
                # worker.
                self._changed.notify()
        settle(refused)
        return batch

    def _answer(self, worker: str, batch: list[Piece[W, R]]) -> bool:
        """Run a batch and answer all of it. Return False if the device can no longer be trusted."""
        started = time.monotonic()
        results: Sequence[R | Exception]
        ended_by: BaseException | None = None
        with self._changed:
            self._under_way.begin(worker, batch)
        try:
            results = self._workers[worker]([piece.work(self._cut) for piece in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a batch of {len(batch)} returned {len(results)} results")
        except Exception as error:
            # Any error must reach the callers, and the thread must go on.
            log.debug("a batch of %d failed in %s/%s", len(batch), self._name, worker, exc_info=True)
            results = [error] * len(batch)
        except BaseException as error:
            ended_by = error
            results = [DeviceError(f"The thread of {self._name}/{worker} ended during the call; retry it.")] * len(
                batch
            )
        ran = FinishedBatch(worker, batch, results, started, time.monotonic() - started)
        self._settle(ran)
        if ended_by is not None:
            raise ended_by
        if self._observe:
            # Observe after answering, so that callers do not wait for it.
            self._observe(ran.size, ran.waits, ran.took)
        return not all(isinstance(result, DeviceError) for result in results)

    def _settle(self, ran: FinishedBatch[W, R]) -> None:
        with self._changed:
            if not self._is_owner(ran.worker):
                # `look` already answered these callers, and another thread owns the worker.
                return
            if self._mark_idle(ran.worker):
                self._queue.mark_idle(ran.worker)
            else:
                self._queue.record_run(ran.worker, ran.took)
            outcomes = ran.outcomes(self._join)
            self._forget(outcomes)
        settle(outcomes)

    def _forget(self, outcomes: list[Outcome[W, R]]) -> None:
        """Drop the remaining units of answered entries: after a failed piece the others are useless."""
        for entry, _ in outcomes:
            self._queue.remove(entry.number)

    def _recovered(self, worker: str, recover: Callable[[], None]) -> None:
        """Return when the worker's device is usable again, or the batcher is closed."""
        pause = 0.0
        while self._is_owner(worker) and not self._closed.wait(pause):
            with self._changed:
                self._under_way.begin(worker, [])
            try:
                recover()
            except Exception as error:
                with self._changed:
                    self._mark_idle(worker)
                # The next attempt may succeed.
                if self._down.get(worker) != f"{error}":
                    log.warning("%s/%s cannot be used; the server will retry: %s", self._name, worker, error)
                self._mark_down(worker, f"{error}")
                pause = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, 2 * pause))
            else:
                with self._changed:
                    self._mark_idle(worker)
                break
        if self._is_owner(worker) and worker in self._down:
            del self._down[worker]
            log.info("%s/%s can be used again", self._name, worker)

    def _mark_idle(self, worker: str) -> bool:
        """Mark a worker as running nothing. Return True if it had been given up as hung."""
        if not self._is_owner(worker):
            return False
        if not self._under_way.ended(worker):
            return False
        self._down.pop(worker, None)
        log.warning("%s/%s has returned and accepts calls again", self._name, worker)
        return True

    def _mark_down(self, worker: str, what: str) -> None:
        """Mark a worker as down. If no other worker is left, answer the queued callers with `what`."""
        with self._changed:
            self._down[worker] = what
            left = self._queue.clear() if self.lost else []
        settle([(entry, DeviceError(what)) for entry in left])
