"""Fair turns at a limited number of places, in the order of fair.py. For one event loop."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from lookalike_server.batching import callers
from lookalike_server.batching.batch_queue import BatchQueue
from lookalike_server.batching.latency_model import LatencyModel
from lookalike_server.batching.waiting import Rules


class Turns:
    """`places` that are free or held. `max_queue` bounds what a peer may have queued."""

    def __init__(self, name: str, places: int, max_queue: int) -> None:
        unlike: Iterator[int] = itertools.count()
        # Turns are never batched: each key is unique.
        rules: Rules[int] = Rules(
            key=lambda size: next(unlike), size=lambda size: size, max_batch=1, max_queue=max_queue
        )
        self._rules = rules
        self._queue: BatchQueue[int, str] = BatchQueue(name, rules, LatencyModel(places))
        self._free = [str(place) for place in range(places)]
        self._held = 0
        # Calls that wait for a turn, by ticket.
        self._calls: dict[int, asyncio.Future[str]] = {}
        self._tickets = itertools.count()

    @property
    def waiting(self) -> int:
        """Size of all that waits or holds a place."""
        return self._queue.waiting + self._held

    @asynccontextmanager
    async def turn(self, size: int = 1) -> AsyncIterator[None]:
        """Hold a place while the block runs.

        Raises OverloadedError if the queue is full. A canceled caller leaves the queue.
        """
        place = await self._place(size)
        self._held += size
        began = time.monotonic()
        try:
            yield
        finally:
            self._held -= size
            self._queue.record_run(place, time.monotonic() - began)
            self._free.append(place)
            self._give()

    async def _place(self, size: int) -> str:
        ticket = next(self._tickets)
        number = self._queue.add(self._rules.entry(size, callers.peer(), None, time.monotonic(), ticket))
        place: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._calls[ticket] = place
        self._give()
        try:
            return await place
        except asyncio.CancelledError:
            self._queue.remove(number)
            if place.done() and not place.cancelled():
                # A place was assigned at the same moment as the cancellation.
                self._return(place.result())
            raise
        finally:
            del self._calls[ticket]

    def _give(self) -> None:
        while self._free and self._queue:
            place = self._free.pop()
            pieces, _ = self._queue.next_batch(place, time.monotonic())
            for piece in pieces:
                call = self._calls[piece.entry.ticket]
                if call.done():
                    # The call is canceled, but its task has not run yet.
                    self._queue.mark_idle(place)
                    self._free.append(place)
                else:
                    call.set_result(place)

    def _return(self, place: str) -> None:
        self._queue.mark_idle(place)
        self._free.append(place)
        self._give()
