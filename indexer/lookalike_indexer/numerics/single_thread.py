"""Libraries that add in several threads, held to one, so that their sums have one order."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Give OpenMP and BLAS one thread each, in every library that is loaded, until the block ends.

    Results then do not depend on the number of threads. They may still differ
    in the last digits between processors, for which BLAS has different kernels.
    """
    with _libraries(len(sys.modules)).limit(limits=1):
        yield


@functools.lru_cache(1)
def _libraries(modules: int) -> ThreadpoolController:
    """The loaded libraries. To find them takes 30 ms, so only when `modules`, the number of imported ones, changed."""
    return ThreadpoolController()
