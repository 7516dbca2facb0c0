"""Limit of numeric libraries to one thread, so that their sums have a fixed order."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit OpenMP and BLAS to one thread each, in every loaded library, until the block ends.

    Results then do not depend on the number of threads. They may still differ in the last digits between CPUs, for
    which BLAS has different kernels.
    """
    with _libraries(len(sys.modules)).limit(limits=1):
        yield


@functools.lru_cache(1)
def _libraries(modules: int) -> ThreadpoolController:
    """Return the loaded libraries. Finding them takes 30 ms, so the result is cached by `modules`, the number of
    imported ones.
    """
    return ThreadpoolController()
