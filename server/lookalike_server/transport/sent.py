"""What became of a reply: gRPC sends what a handler returns after the handler has ended, and tells nobody.

A handler could write its reply and see whether that worked. gRPC then sends the status apart from it, which takes a
call of one caller half a millisecond of processor time. Returned, both travel together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


def when_sent(context: Any, told: Callable[[bool], None]) -> None:
    """Call `told` when the call of this task has ended: with True where the reply that its handler returns was sent.

    Call it last of all in the outermost handler: the task must not wait for anything else in between.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be told")
    sending: list[Any] = []
    # Runs when the handler has returned, and the task waits for the sending. The future that a task waits for has no
    # public name.
    task.get_loop().call_soon(lambda: sending.append(getattr(task, "_fut_waiter", None)))

    def ended(_: Any) -> None:
        told(not (task.cancelled() or any(map(_failed, sending))))

    context.add_done_callback(ended)


def _failed(sending: Any) -> bool:
    """Whether a future has failed; False for what is none, or has not ended."""
    if not isinstance(sending, asyncio.Future) or not sending.done():
        return False
    return sending.cancelled() or sending.exception() is not None
