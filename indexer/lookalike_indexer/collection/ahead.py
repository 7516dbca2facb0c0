"""Read-ahead: load the next sources in background threads while the caller works on the current one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

# Two threads read faster than one, and keep up with most consumers.
_THREADS = 2


def read_ahead(read: Callable[[S], T], sources: Iterable[S], threads: int = _THREADS) -> Iterator[T]:
    """Yield the result of `read` for each source, in order; `threads` threads read at most `threads` sources ahead.

    An error of `read` is raised in the place of its source. No further sources are read after an error, or after the
    caller stops.
    """
    with ThreadPoolExecutor(threads, "read ahead") as pool:
        begun: deque[Future[T]] = deque()
        try:
            for source in sources:
                begun.append(pool.submit(read, source))
                if len(begun) > threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
