"""Blocking work that is not a device's: reading stored vectors, assigning, looking up, writing replies."""

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

# A disk that hangs takes one thread after the other. So many times others take their place.
_MOST_POOLS = 8
# Looking up so many images by their keys takes half a millisecond, which the event loop has.
_FEW = 32


class Workers:
    """A few threads, and turns at them for the calls of each peer.

    Whoever calls `look` now and then has work given up that takes longer than
    `limit_s` seconds. Its thread cannot be ended; when all of them hang, others
    take their place, a few times over.
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
        # What is wrong when no thread is left.
        self.lost = ""

    @property
    def waiting(self) -> int:
        """The pieces of work that wait or are being done."""
        return self._turns.waiting

    async def run(self, work: Callable[[], T], size: int = 1) -> T:
        """Run `work`, about `size` queries, off the event loop.

        OverloadedError: too much waits already. DeviceError: it took too long.
        """
        if self.lost:
            raise DeviceError(self.lost)
        async with self._turns.turn(size):
            piece = _Piece(work, self._pieces)
            piece.give(self._pools[-1])
            result: T = await piece.answer
            return result

    async def looked_up(self, work: Callable[[], T], items: int) -> T:
        """Run `work`, which looks up or writes `items` things: here where they are a few, else as `run` does."""
        return work() if items <= _FEW else await self.run(work)

    def look(self) -> list[str]:
        """Give up what hangs; a sentence when no thread of the newest ones is left. In the event loop."""
        now = time.monotonic()
        hanging = [piece for piece in self._pieces if piece.began is not None and now - piece.began > self._limit_s]
        for piece in hanging:
            piece.end(DeviceError(f"The server worked on this call for longer than {self._limit_s:g} s; ask later."))
        newest = self._pools[-1]
        if sum(piece.pool is newest for piece in hanging) < self._threads:
            self.lost = ""
            return []
        if len(self._pools) < _MOST_POOLS:
            self._replace(newest)
            return [f"All {self._threads} threads that read the disk hang; others take their place."]
        known, self.lost = self.lost, f"All {_MOST_POOLS * self._threads} threads that read the disk hang; ask later."
        return [] if known else [self.lost]

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _replace(self, pool: ThreadPoolExecutor) -> None:
        """Open other threads, which take over what no thread of a pool has begun."""
        waiting = [piece for piece in self._pieces if piece.pool is pool and piece.began is None]
        pool.shutdown(wait=False, cancel_futures=True)
        self._pools.append(self._opened())
        for piece in waiting:
            if piece.began is None:
                piece.give(self._pools[-1])

    def _opened(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="worker", initializer=self._prepare)


class _Piece:
    """A piece of work, which is one of `under_way` until its thread has come back. `began` is None while it waits."""

    def __init__(self, work: Callable[[], Any], under_way: set[_Piece]) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        # What is known of the call, such as what its caller may see, is known to the thread.
        self._context = contextvars.copy_context()
        self._under_way = under_way
        self.answer: asyncio.Future[Any] = self._loop.create_future()
        self.began: float | None = None
        self.pool: ThreadPoolExecutor | None = None
        under_way.add(self)
        self.answer.add_done_callback(self._answered)

    def give(self, pool: ThreadPoolExecutor) -> None:
        """Let a thread of a pool do it."""
        self.pool = pool
        pool.submit(self._do)

    def end(self, outcome: Any) -> None:
        """Answer whoever waits, if that has not been done."""
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
            # Whatever it was, whoever waits must hear of it.
            outcome = error
        try:
            self._loop.call_soon_threadsafe(self._came_back, outcome)
        except RuntimeError:
            # The server ended meanwhile, and its event loop with it.
            return

    def _came_back(self, outcome: Any) -> None:
        self._under_way.discard(self)
        self.end(outcome)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        """Forget what was cancelled before it began: no thread comes back with it."""
        if self.began is None:
            self._under_way.discard(self)
