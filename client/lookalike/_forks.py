"""Check that gRPC can be used after a fork: a child process has none of gRPC's threads.

gRPC handles a fork only while no other thread is within it. Otherwise calls of the child hang
beyond their deadlines, or crash the process. This module rejects such calls.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc.aio

from lookalike._errors import ClosedError

# The threads that are within a call.
_CALLING: Final[set[int]] = set()
# While one of these is open, a thread of gRPC waits within gRPC.
_ASYNCIO: Final[weakref.WeakSet[grpc.aio.Channel]] = weakref.WeakSet()


class _State:
    """The number of forks since the first process was started, and whether gRPC was in use at one of them.

    `next_lost` is the value of `lost` for the child of a fork that is in progress.
    """

    forks = 0
    lost = False
    next_lost = False


@contextmanager
def calling() -> Iterator[None]:
    """Register a call of this thread that waits within gRPC."""
    thread = threading.get_ident()
    _CALLING.add(thread)
    try:
        yield
    finally:
        _CALLING.discard(thread)


def opened(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """Register an asyncio channel and return it."""
    _ASYNCIO.add(channel)
    return channel


def forks() -> int:
    """Return a number that changes with each fork."""
    return _State.forks


def check() -> None:
    """Raise ClosedError if gRPC cannot be used in this process."""
    if _State.lost:
        raise ClosedError(
            "This process was forked while gRPC was in use, so no client works in it: start workers by the method "
            "'spawn' or 'forkserver', or fork before the first call of a lookalike.aio client and between the calls "
            "of others."
        )


def _before() -> None:
    _State.next_lost = _State.lost or bool(_CALLING) or bool(_ASYNCIO)


def _in_child() -> None:
    _State.forks += 1
    _State.lost = _State.next_lost
    _CALLING.clear()
    _ASYNCIO.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
