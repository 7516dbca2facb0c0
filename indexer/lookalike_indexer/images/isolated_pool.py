"""Isolated worker processes for untrusted bytes: a decoder that crashes or hangs affects only its own process.

The workers import neither torch nor faiss, have a memory limit, write nothing to standard error, and end with their
parent.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from pebble import CONSTS, ProcessPool

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.images.lifeline import end_with_parent

T = TypeVar("T")

_SMALLEST_MEMORY = 4 << 30
# RGBA, RGB, a copy of either, and 16-bit levels as float64.
_BYTES_PER_PIXEL = 24

# Workers ignore the SIGTERM that pebble sends first, so do not wait before SIGKILL.
CONSTS.term_timeout = 0


class IsolatedPool:
    """Worker processes for images within the limits; thread-safe.

    A worker that dies during a task fails that task with pebble.ProcessExpired, and is replaced. A worker that is
    killed while idle breaks pebble's pool, and with it all scheduled tasks (BrokenProcessPool); the next task gets a
    new pool.
    """

    def __init__(self, workers: int, niceness: int, limits: ImageLimits) -> None:
        memory = max(_SMALLEST_MEMORY, limits.max_pixels * _BYTES_PER_PIXEL)
        self._settings = (workers, niceness, memory)
        self._lock = threading.Lock()
        self._pool = self._opened()

    def schedule(self, function: Callable[..., T], args: tuple[Any, ...], timeout: float) -> Future[T]:
        """Run a function of a module in one of the processes, for `timeout` seconds at most."""
        with self._lock:
            if not self._pool.active:
                self._close()
                self._pool = self._opened()
            future: Future[T] = self._pool.schedule(function, args=args, timeout=timeout)
            return future

    def close(self) -> None:
        """Stop the processes; running tasks are lost."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._pool.stop()
        self._pool.join()

    def _opened(self) -> Any:
        """Open a pool. The return type is Any because pebble's annotations are incomplete."""
        workers, niceness, memory = self._settings
        return ProcessPool(
            max_workers=workers,
            initializer=_begin,
            initargs=(niceness, memory),
            # Spawned, not forked: the parent has threads, and the workers need neither torch nor its memory.
            context=multiprocessing.get_context("spawn"),
        )


def _begin(niceness: int, memory: int) -> None:
    end_with_parent()
    # A service manager sends SIGTERM to every process; the parent may still need the current task.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(niceness)
    # libtiff and similar libraries write messages on damaged files there; errors are returned as reasons.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    os.close(silent)
    # Damaged files can request any amount of memory; beyond this limit the decoder gets a MemoryError.
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    allowed = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
