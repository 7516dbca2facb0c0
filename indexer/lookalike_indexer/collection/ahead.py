"""Reading ahead: what comes next is read while the caller works on what it was given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

# Two read faster than one, and keep up with most that is done with what they read.
_THREADS = 2


def read_ahead(read: Callable[[S], T], sources: Iterable[S], threads: int = _THREADS) -> Iterator[T]:
    """What `read` makes of each source, in their order; it runs in `threads`, and is as many sources ahead.

    An error comes where the source would have; sources behind it are not read
    any more, nor are those behind the one at which the caller stops.
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
