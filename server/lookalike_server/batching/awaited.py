"""Batcher for callers that wait in an asyncio event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic

from lookalike_server.batching import callers
from lookalike_server.batching.batcher import Batcher
from lookalike_server.batching.waiting import Answer, R, W

log = logging.getLogger(__name__)

Arrived = Sequence[tuple[int, Answer[Any] | Exception]]


class LoopInbox:
    """Inbox that calls `arrived` in the event loop that created it, once for all answers of a batch."""

    def __init__(self, arrived: Callable[[Arrived], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._arrived = arrived

    def put(self, answers: Arrived) -> None:
        """Schedule the answers in the event loop, or hand them over if this is its thread. Thread-safe."""
        if threading.get_ident() == self._thread:
            self._arrived(answers)
            return
        try:
            self.loop.call_soon_threadsafe(self._arrived, answers)
        except RuntimeError:
            log.debug("%d answers were dropped: their event loop has closed", len(answers))


class Calls(Generic[R]):
    """Pending calls of one event loop, by ticket."""

    def __init__(self) -> None:
        self.inbox = LoopInbox(self._hand_over)
        self._waiting: dict[int, asyncio.Future[Answer[R]]] = {}
        self._tickets = itertools.count()

    def open(self) -> tuple[int, asyncio.Future[Answer[R]]]:
        """Return a new ticket and the future of its answer. The caller must close the ticket."""
        ticket = next(self._tickets)
        self._waiting[ticket] = future = self.inbox.loop.create_future()
        return ticket, future

    def close(self, ticket: int) -> None:
        """Forget a ticket; a later answer to it is dropped."""
        self._waiting.pop(ticket, None)

    def _hand_over(self, answers: Arrived) -> None:
        for ticket, outcome in answers:
            future = self._waiting.get(ticket)
            if future is None or future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


class AwaitedBatcher(Batcher[W, R], Generic[W, R]):
    """Batcher whose callers await their answers."""

    _calls: Calls[R] | None = None

    async def submit(self, work: W, deadline: float | None = None) -> Answer[R]:
        """Queue a request and wait for its answer. `deadline` is in the time of `time.monotonic`.

        Raises OverloadedError if the queue is full or the request waited too long. Raises
        ExpiredError if the deadline passed in the queue, and DeviceError if no worker has a device.
        Otherwise it raises the error that the batch failed with. A canceled caller leaves the queue
        at once.
        """
        if self._calls is None or self._calls.inbox.loop is not asyncio.get_running_loop():
            self._calls = Calls()
        calls = self._calls
        ticket, answer = calls.open()
        try:
            number = self.put(work, ticket, calls.inbox, callers.peer(), deadline)
            try:
                return await answer
            except asyncio.CancelledError:
                # Only a canceled call ends without an answer, so the request may still be queued.
                self.withdraw(number)
                raise
        finally:
            calls.close(ticket)
