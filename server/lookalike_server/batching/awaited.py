"""Waiting in an event loop for what other threads answer."""

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
    """An inbox whose answers `arrived` is given in the event loop that made it, those of a batch in one step."""

    def __init__(self, arrived: Callable[[Arrived], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._arrived = arrived

    def put(self, answers: Arrived) -> None:
        """From any thread."""
        # In its own thread the loop need not be woken.
        own = threading.get_ident() == self._thread
        try:
            (self.loop.call_soon if own else self.loop.call_soon_threadsafe)(self._arrived, answers)
        except RuntimeError:
            log.debug("nobody is left to hear of %d answers: their event loop has closed", len(answers))


class Calls(Generic[R]):
    """The calls of one event loop that wait, by ticket."""

    def __init__(self) -> None:
        self.inbox = LoopInbox(self._hand_over)
        self._waiting: dict[int, asyncio.Future[Answer[R]]] = {}
        self._tickets = itertools.count()

    def open(self) -> tuple[int, asyncio.Future[Answer[R]]]:
        """A ticket, and the future of the answer that comes with it. Its caller closes it."""
        ticket = next(self._tickets)
        self._waiting[ticket] = future = self.inbox.loop.create_future()
        return ticket, future

    def close(self, ticket: int) -> None:
        """Forget a ticket: its answer, if one comes, is for nobody."""
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
    """A batcher whose callers wait in an event loop."""

    _calls: Calls[R] | None = None

    async def submit(self, work: W, deadline: float | None = None) -> Answer[R]:
        """Queue a work and wait for its answer. `deadline` is in the time of `time.monotonic`.

        OverloadedError: the queue is full, or the work waited in it too long.
        ExpiredError: the deadline passed while it waited. DeviceError: no
        worker has a device. Otherwise whatever its batch failed with. A
        cancelled caller leaves the queue at once.
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
                # The only way to end without an answer, and so perhaps still queued.
                self.withdraw(number)
                raise
        finally:
            calls.close(ticket)
