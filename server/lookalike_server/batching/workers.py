"""Thread pool for blocking work without a device: reading vectors, assigning, looking up, writing replies."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lookalike_indexer.errors import DeviceError
from lookalike_server.batching.turns import Turns

T = TypeVar("T")

# A hung disk blocks one thread after the other. At most this many pools are opened.
_MOST_POOLS = 8
# Looking up this many images by key takes half a millisecond, short enough for the event loop.
_FEW = 32


class Workers:
    """A thread pool with fair turns for the calls of each peer.

    `look`, called periodically, fails work that runs for longer than `limit_s` seconds. The thread
    itself cannot be ended. If all threads hang, new ones replace them, up to `_MOST_POOLS` times.
    """

    def __init__(
        self,
        threads: int,
        max_queue: int,
        prepare: Callable[[], None] | None = None,
        limit_s: float = 60.0,
    ) -> None:
        self._threads, self._prepare = threads, prepare
        self._limit_s = limit_s
        self._turns = Turns("workers", threads, max_queue)
        self._pools = [self._opened()]
        self._pieces: set[_Piece] = set()
        # Why no thread is left; "" if one is.
        self.lost = ""

    @property
    def waiting(self) -> int:
        """Pieces of work that are queued or running."""
        return self._turns.waiting

    async def run(self, work: Callable[[], T], size: int = 1) -> T:
        """Run `work`, about `size` queries, off the event loop.

        Raises OverloadedError if the queue is full, and DeviceError if the work took too long.
        """
        if self.lost:
            raise DeviceError(self.lost)
        async with self._turns.turn(size):
            piece = _Piece(work, self._pieces)
            piece.give(self._pools[-1])
            result: T = await piece.answer
            return result

    async def run_lookup(self, work: Callable[[], T], items: int) -> T:
        """Run `work`, which looks up or writes `items` items. A few run in the event loop, more as in `run`."""
        return work() if items <= _FEW else await self.run(work)

    def check_threads(self) -> list[str]:
        """Fail hung work. Return a sentence if all threads of the newest pool hang. Call it in the event loop."""
        now = time.monotonic()
        hanging = [piece for piece in self._pieces if piece.began is not None and now - piece.began > self._limit_s]
        for piece in hanging:
            piece.end(DeviceError(f"The server worked on this call for longer than {self._limit_s:g} s; retry later."))
        newest = self._pools[-1]
        if sum(piece.pool is newest for piece in hanging) < self._threads:
            self.lost = ""
            return []
        if len(self._pools) < _MOST_POOLS:
            self._replace(newest)
            return [f"All {self._threads} threads that read the disk hang; the server replaces them."]
        known, self.lost = self.lost, f"All {_MOST_POOLS * self._threads} threads that read the disk hang; retry later."
        return [] if known else [self.lost]

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _replace(self, pool: ThreadPoolExecutor) -> None:
        """Open a new pool, which takes over the queued work of the old one."""
        waiting = [piece for piece in self._pieces if piece.pool is pool and piece.began is None]
        pool.shutdown(wait=False, cancel_futures=True)
        self._pools.append(self._opened())
        for piece in waiting:
            if piece.began is None:
                piece.give(self._pools[-1])

    def _opened(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="worker", initializer=self._prepare)


class _Piece:
    """A piece of work, in `under_way` until its thread returns. `began` is None while it is queued."""

    def __init__(self, work: Callable[[], Any], under_way: set[_Piece]) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        # The thread gets the call's context, such as what its caller may see.
        self._context = contextvars.copy_context()
        self._under_way = under_way
        self.answer: asyncio.Future[Any] = self._loop.create_future()
        self.began: float | None = None
        self.pool: ThreadPoolExecutor | None = None
        under_way.add(self)
        self.answer.add_done_callback(self._answered)

    def give(self, pool: ThreadPoolExecutor) -> None:
        """Submit the work to a pool."""
        self.pool = pool
        pool.submit(self._do)

    def end(self, outcome: Any) -> None:
        """Set the answer, unless it is already set."""
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)

    def _do(self) -> None:
        if self.answer.cancelled():
            return
        self.began = time.monotonic()
        try:
            outcome: Any = self._context.run(self._work)
        except BaseException as error:
            # Any error must reach the caller that waits.
            outcome = error
        try:
            self._loop.call_soon_threadsafe(self._finished, outcome)
        except RuntimeError:
            # The event loop closed because the server stopped.
            return

    def _finished(self, outcome: Any) -> None:
        self._under_way.discard(self)
        self.end(outcome)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        """Forget work that was canceled before it began: no thread will return it."""
        if self.began is None:
            self._under_way.discard(self)
