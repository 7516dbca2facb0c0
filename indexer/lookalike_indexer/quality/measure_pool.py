"""Measuring of images in isolated processes, in the requested order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import TracebackType

from pebble import ProcessExpired

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.decode import decode
from lookalike_indexer.images.isolated_pool import IsolatedPool
from lookalike_indexer.quality.measures import Measures, measured
from lookalike_indexer.sources.fetch import fetch

_CHUNK = 8
_TIMEOUT_S = 30.0


class MeasurePool:
    """Worker processes that read, decode and measure images."""

    def __init__(self, workers: int, limits: ImageLimits) -> None:
        self._limits, self._ahead = limits, 4 * workers
        self._pool = IsolatedPool(workers, 5, limits)

    def __enter__(self) -> MeasurePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def measure(self, uris: Iterable[str]) -> Iterator[Measures | None]:
        """Measure the images of some URIs in order; yield None if a file is missing or is not an image."""
        source = iter(uris)
        waiting: deque[tuple[list[str], Future[list[Measures | None]]]] = deque()
        while True:
            while len(waiting) < self._ahead and (taken := list(islice(source, _CHUNK))):
                waiting.append((taken, self._scheduled(taken)))
            if not waiting:
                return
            asked, future = waiting.popleft()
            yield from self._results(asked, future)

    def _scheduled(self, uris: Sequence[str]) -> Future[list[Measures | None]]:
        return self._pool.schedule(_measured_all, (list(uris), self._limits), _TIMEOUT_S * len(uris))

    def _results(self, uris: list[str], future: Future[list[Measures | None]]) -> list[Measures | None]:
        try:
            return future.result()
        except (ProcessExpired, BrokenProcessPool, FutureTimeoutError):
            # One of them, or none, is at fault: retry each of them alone.
            return [self._alone(uri) for uri in uris]

    def _alone(self, uri: str) -> Measures | None:
        try:
            return self._scheduled([uri]).result()[0]
        except (ProcessExpired, BrokenProcessPool, FutureTimeoutError):
            return None


def _measured_all(uris: list[str], limits: ImageLimits) -> list[Measures | None]:
    return [_measured(uri, limits) for uri in uris]


def _measured(uri: str, limits: ImageLimits) -> Measures | None:
    try:
        return measured(decode(fetch(uri, limits.max_bytes), limits).image)
    except (DecodeError, MemoryError):
        return None
