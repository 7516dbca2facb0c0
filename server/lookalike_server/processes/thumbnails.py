"""Thumbnails: a fair queue before the processes that decode."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Rules

# Decoders take long to import, and searches do not need them.
if TYPE_CHECKING:
    from lookalike_indexer.images.thumbnail_pool import ThumbnailPool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Work:
    uris: Sequence[str]
    size: int

    def part(self, start: int, stop: int) -> _Work:
        """Return the request with only the URIs `[start, stop)`."""
        return replace(self, uris=self.uris[start:stop])


class Thumbnails:
    """Thumbnails for the calls of one server, at most one per process of the pool at a time.

    `open_pool` creates the pool on first use.
    """

    def __init__(self, open_pool: Callable[[], ThumbnailPool], max_queue: int, processes: int = 1) -> None:
        self._open_pool = open_pool
        self._pool: ThumbnailPool | None = None
        self._opening = threading.Lock()
        rules: Rules[_Work] = Rules(
            key=lambda work: work.size,
            size=lambda work: len(work.uris),
            # One per batch, so that no call waits for more than one image of another call.
            max_batch=1,
            max_queue=max_queue,
            cut=_Work.part,
        )
        workers = {f"process {number}": self._run for number in range(processes)}
        self._batcher: AwaitedBatcher[_Work, list[bytes]] = AwaitedBatcher("thumbnails", workers, rules, join=_joined)

    @property
    def waiting(self) -> int:
        """Number of queued thumbnails."""
        return self._batcher.waiting

    async def make(self, uris: Sequence[str], size: int) -> list[bytes]:
        """Return a JPEG for each URI, empty if it cannot be made.

        Raises OverloadedError if this peer has too much queued. A canceled call leaves the queue.
        An image in progress is finished, because ending its process would cost more.
        """
        return (await self._batcher.submit(_Work(uris, size))).result

    def close(self) -> None:
        """End the processes. May block briefly, so do not call it on the event loop."""
        self._batcher.close()
        if self._pool is not None:
            self._pool.close()

    def _run(self, batch: list[_Work]) -> list[list[bytes]]:
        return [[self._make_thumbnail(uri, work.size) for uri in work.uris] for work in batch]

    def _make_thumbnail(self, uri: str, size: int) -> bytes:
        with self._opening:
            if self._pool is None:
                self._pool = self._open_pool()
        made = self._pool.make(uri, size).result()
        if made.reason:
            log.debug("no thumbnail of %s: %s", uri, made.reason)
        return made.jpeg


def _joined(parts: Sequence[list[bytes]]) -> list[bytes]:
    return list(itertools.chain.from_iterable(parts))
