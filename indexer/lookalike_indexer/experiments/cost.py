"""What a piece of work costs: seconds, and memory beyond what was there before."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cost:
    """Filled when the work is done.

    `peak_bytes` is the most that Python and numpy held at a time beyond what
    there was at the start; what libraries allocate by themselves is not seen.
    """

    seconds: float = math.nan
    peak_bytes: int = 0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what is done inside; not for several threads, and not one inside another."""
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
