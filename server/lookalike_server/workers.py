"""Blocking work that is not a device's: reading stored vectors, assigning, thumbnails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lookalike_server.errors import OverloadedError

T = TypeVar("T")


class Workers:
    """A few threads and a bound on what may wait for them."""

    def __init__(self, threads: int, max_queue: int, prepare: Callable[[], None] | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker", initializer=prepare)
        self._max_queue = max_queue
        self._pending = 0

    @property
    def waiting(self) -> int:
        """The pieces of work that wait or are being done."""
        return self._pending

    async def run(self, work: Callable[[], T], size: int = 1) -> T:
        """Run `work`, about `size` queries, off the event loop; OverloadedError when too much waits already."""
        return (await self._run([work], size))[0]

    async def run_all(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Run the works of one call. More than may wait are taken when nothing else does, or they never could be."""
        return await self._run(works, len(works))

    async def _run(self, works: Sequence[Callable[[], T]], size: int) -> list[T]:
        if self._pending and self._pending + size > self._max_queue:
            raise OverloadedError(
                f"{self._pending} pieces of work wait to be done and {self._max_queue} may; ask again later.",
                retry_after=0.5,
            )
        self._pending += size
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.gather(*[loop.run_in_executor(self._pool, work) for work in works])
        finally:
            self._pending -= size

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
