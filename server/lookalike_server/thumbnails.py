"""Thumbnails for callers: a bound on what may wait, before the processes that decode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future

from lookalike_indexer.images.thumbnail_pool import Made, ThumbnailPool
from lookalike_server.errors import OverloadedError

log = logging.getLogger(__name__)


class Thumbnails:
    """Pictures for the calls of one server."""

    def __init__(self, pool: ThumbnailPool, max_queue: int) -> None:
        self._pool = pool
        self._max_queue = max_queue
        self._pending = 0

    @property
    def waiting(self) -> int:
        """The thumbnails that wait or are being made."""
        return self._pending

    async def make(self, uris: Sequence[str], size: int) -> list[bytes]:
        """A JPEG for each URI, empty where it cannot be had.

        OverloadedError: too much waits. More than may wait are taken when
        nothing else does, or they never could be.
        """
        if self._pending and self._pending + len(uris) > self._max_queue:
            raise OverloadedError(
                f"{self._pending} thumbnails wait to be made and {self._max_queue} may; ask again later.",
                retry_after=0.5,
            )
        self._pending += len(uris)
        futures = [asyncio.wrap_future(self._pool.make(uri, size)) for uri in uris]
        for future in futures:
            future.add_done_callback(self._done)
        # A caller who leaves must not end a worker with its picture: it would have to be started anew.
        made = await asyncio.shield(asyncio.gather(*futures))
        for uri, one in zip(uris, made, strict=True):
            if one.reason:
                log.debug("no thumbnail of %s: %s", uri, one.reason)
        return [one.jpeg for one in made]

    def close(self) -> None:
        """End the processes; may wait for a moment, so not for the event loop."""
        self._pool.close()

    def _done(self, future: asyncio.Future[Made] | Future[Made]) -> None:
        self._pending -= 1
