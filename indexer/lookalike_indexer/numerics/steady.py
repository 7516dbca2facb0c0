"""Libraries that add in several threads, held to one, so that their sums have one order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Give OpenMP and BLAS one thread each, in every library that is loaded, until the block ends.

    Results then do not depend on the number of threads. They may still differ
    in the last digits between processors, for which BLAS has different kernels.
    """
    with threadpool_limits(1):
        yield
