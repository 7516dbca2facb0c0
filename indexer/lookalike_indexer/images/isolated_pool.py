"""Processes for work on bytes that nobody vouches for: a decoder that crashes or hangs takes one of them, and no more.

The workers import neither torch nor faiss, hold no more memory than they are
given, say nothing on standard error, and end with their parent.
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

# Workers ignore the SIGTERM by which pebble asks them to end, so that it is no use to wait for SIGKILL.
CONSTS.term_timeout = 0


class IsolatedPool:
    """`workers` processes for pictures within the limits; for several threads.

    A worker that dies with a task in hand fails that task with
    pebble.ProcessExpired, and another takes its place. One that is killed while
    it has none breaks pebble's pool, and with it all that was scheduled
    (BrokenProcessPool): the next task gets a new pool.
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
        """End the processes; what they were doing is lost."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._pool.stop()
        self._pool.join()

    def _opened(self) -> Any:
        """Any: pebble's own annotations are incomplete."""
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
    # It reaches every process of a service that ends; the parent may still need what this one is doing.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(niceness)
    # libtiff and its like write what they think of damaged files there; what matters comes back as a reason.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    os.close(silent)
    # Damaged files can ask a decoder for any amount; beyond this it gets a MemoryError.
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    allowed = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
