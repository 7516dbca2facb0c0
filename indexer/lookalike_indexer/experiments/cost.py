"""Cost of an operation: seconds, and additional memory."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cost:
    """The cost, filled in when the operation ends.

    `peak_bytes` is the maximum that Python and numpy allocated in addition to the memory at the start; allocations of
    other libraries are not included.
    """

    seconds: float = math.nan
    peak_bytes: int = 0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block; not thread-safe, and not nestable."""
    cost = Cost()
    already = tracemalloc.is_tracing()
    if not already:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        began = time.perf_counter()
        yield cost
        cost.seconds = time.perf_counter() - began
        cost.peak_bytes = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not already:
            tracemalloc.stop()
