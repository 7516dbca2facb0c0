"""Thumbnails made in isolated processes, because stored images may have changed, or crash a newer decoder."""

from __future__ import annotations

import contextlib
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from pebble import ProcessExpired

from lookalike_indexer.collection.limits import DEFAULT_LIMITS, ImageLimits
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.isolated_pool import IsolatedPool
from lookalike_indexer.images.thumbnail import thumbnail
from lookalike_indexer.sources.fetch import fetch


@dataclass(frozen=True)
class ThumbnailResult:
    """A thumbnail as JPEG; empty, with a reason of one line, if it cannot be made."""

    jpeg: bytes
    reason: str = ""


_STOPPED = ThumbnailResult(b"", "the server is stopping")


class ThumbnailPool:
    """Makes thumbnails of stored images. The processes start on first use; an image may take `timeout` seconds."""

    def __init__(self, workers: int, timeout: float = 20.0, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self._timeout = timeout
        self._limits = limits
        self._awaited: set[Future[ThumbnailResult]] = set()
        # Lower priority than searches and the network: users do not notice a delay of milliseconds.
        self._pool = IsolatedPool(workers, 5, limits)

    def make(self, uri: str, size: int) -> Future[ThumbnailResult]:
        """Make the thumbnail of an image, by its URI; the future always gets a ThumbnailResult."""
        made: Future[ThumbnailResult] = Future()
        self._awaited.add(made)
        work: Future[ThumbnailResult] = self._pool.schedule(_make, (uri, size, self._limits), self._timeout)
        work.add_done_callback(lambda finished: self._answer(made, self._outcome(finished)))
        return made

    def close(self) -> None:
        """Stop the processes; running tasks are lost."""
        self._pool.close()
        # pebble never completes tasks that had not begun.
        for made in list(self._awaited):
            self._answer(made, _STOPPED)

    def _answer(self, made: Future[ThumbnailResult], outcome: ThumbnailResult) -> None:
        self._awaited.discard(made)
        with contextlib.suppress(InvalidStateError):
            made.set_result(outcome)

    def _outcome(self, finished: Future[ThumbnailResult]) -> ThumbnailResult:
        try:
            return finished.result()
        except (ProcessExpired, BrokenProcessPool):
            return ThumbnailResult(b"", "the decoder crashed")
        except FutureTimeoutError:
            return ThumbnailResult(b"", f"decoding took longer than {self._timeout:g} s")
        except CancelledError:
            return _STOPPED
        except Exception as error:
            return ThumbnailResult(b"", f"it failed unexpectedly ({type(error).__name__})")


def _make(uri: str, size: int, limits: ImageLimits) -> ThumbnailResult:
    try:
        return ThumbnailResult(thumbnail(fetch(uri, limits.max_bytes), size, limits))
    except DecodeError as error:
        return ThumbnailResult(b"", str(error))
    except MemoryError:
        return ThumbnailResult(b"", "decoding needs more memory than there is")
