"""Waiting for no longer than a while, at the cost of one timer for all who wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class FixedTimeout:
    """Gives everything the same number of seconds, so that who began first is overdue first.

    asyncio.timeout sets a timer for each, which costs a call more than reading its message.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # When each task that waits will have waited too long, the soonest first.
        self._due: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; TimeoutError, with the work cancelled, when it takes too long."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait")
        # What asyncio's loops count their time by, too.
        self._due[task] = time.monotonic() + self.seconds
        if self._timer is None:
            self._timer = task.get_loop().call_later(self.seconds, self._look)
        try:
            return await work
        except asyncio.CancelledError:
            if task not in self._due and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self._due.pop(task, None)

    def end(self, task: asyncio.Task[Any]) -> None:
        """Let a task that waits have waited too long already."""
        if self._due.pop(task, None) is not None:
            task.cancel()

    def _look(self) -> None:
        """Cancel who is overdue, and look again when the next one will be."""
        self._timer = None
        for task, due in list(self._due.items()):
            left = due - time.monotonic()
            if left > 0:
                self._timer = task.get_loop().call_later(left, self._look)
                return
            del self._due[task]
            task.cancel()
