"""Timeouts that share one timer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class FixedTimeout:
    """One fixed timeout, so expiry is FIFO and one timer suffices.

    asyncio.timeout sets a timer for each wait, which costs more than reading a call's message.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Deadline of each waiting task, soonest first.
        self._due: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. Raises TimeoutError, and cancels the work, if it takes too long."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait")
        # The clock of asyncio's event loops.
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
        """Expire a waiting task now."""
        if self._due.pop(task, None) is not None:
            task.cancel()

    def _look(self) -> None:
        """Cancel expired tasks, and set the timer for the next one."""
        self._timer = None
        for task, due in list(self._due.items()):
            left = due - time.monotonic()
            if left > 0:
                self._timer = task.get_loop().call_later(left, self._look)
                return
            del self._due[task]
            task.cancel()
