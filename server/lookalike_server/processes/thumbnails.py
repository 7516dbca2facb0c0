"""Thumbnails for callers: a fair queue before the processes that decode."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lookalike_server.batching.awaited import AwaitedBatcher
from lookalike_server.batching.batcher import Rules

# Decoders take long to import, and a server answers searches without them.
if TYPE_CHECKING:
    from lookalike_indexer.images.thumbnail_pool import ThumbnailPool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Work:
    uris: Sequence[str]
    size: int

    def part(self, start: int, stop: int) -> _Work:
        """Some of the pictures."""
        return replace(self, uris=self.uris[start:stop])


class Thumbnails:
    """Pictures for the calls of one server, as many at a time as the pool has processes.

    `open_pool` makes the pool when the first picture is asked for.
    """

    def __init__(self, open_pool: Callable[[], ThumbnailPool], max_queue: int, processes: int = 1) -> None:
        self._open_pool = open_pool
        self._pool: ThumbnailPool | None = None
        self._opening = threading.Lock()
        rules: Rules[_Work] = Rules(
            key=lambda work: work.size,
            size=lambda work: len(work.uris),
            # One for each process, so that nobody waits for more than one picture of another call.
            max_batch=1,
            max_queue=max_queue,
            cut=_Work.part,
        )
        workers = {f"process {number}": self._run for number in range(processes)}
        self._batcher: AwaitedBatcher[_Work, list[bytes]] = AwaitedBatcher("thumbnails", workers, rules, join=_joined)

    @property
    def waiting(self) -> int:
        """The thumbnails that wait."""
        return self._batcher.waiting

    async def make(self, uris: Sequence[str], size: int) -> list[bytes]:
        """A JPEG for each URI, empty where it cannot be had.

        OverloadedError: this peer has too much waiting. Who is cancelled waits
        no longer, and a picture that is being made is finished: ending its
        process would cost more.
        """
        return (await self._batcher.submit(_Work(uris, size))).result

    def close(self) -> None:
        """End the processes; may wait for a moment, so not for the event loop."""
        self._batcher.close()
        if self._pool is not None:
            self._pool.close()

    def _run(self, batch: list[_Work]) -> list[list[bytes]]:
        return [[self._made(uri, work.size) for uri in work.uris] for work in batch]

    def _made(self, uri: str, size: int) -> bytes:
        with self._opening:
            if self._pool is None:
                self._pool = self._open_pool()
        made = self._pool.make(uri, size).result()
        if made.reason:
            log.debug("no thumbnail of %s: %s", uri, made.reason)
        return made.jpeg


def _joined(parts: Sequence[list[bytes]]) -> list[bytes]:
    return list(itertools.chain.from_iterable(parts))
