"""Following the collection: a newer generation is loaded beside the old one and swapped in."""

from __future__ import annotations

import asyncio
import logging

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError
from lookalike_server.current import Current
from lookalike_server.embedding import EmbedQueue
from lookalike_server.snapshot import Loader, Snapshot

log = logging.getLogger(__name__)


class Reloader:
    """Looks for a newer generation every `interval` seconds, and at once when nudged."""

    def __init__(self, root: str, loader: Loader, current: Current, embed_queue: EmbedQueue, interval: float) -> None:
        self._root = root
        self._storage = Storage(root)
        self._loader = loader
        self._current = current
        self._embed_queue = embed_queue
        self._interval = interval
        self._nudged = asyncio.Event()
        self._refused: int | None = None

    def nudge(self) -> None:
        """Look now, also at a generation that could not be loaded before."""
        self._refused = None
        self._nudged.set()

    async def watch(self) -> None:
        """Follow the collection until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            self._nudged.clear()
            await self.follow()

    async def follow(self) -> None:
        """Load and swap in the newest generation if it is newer than the one that is served.

        One that cannot be loaded is logged once and left alone until the next
        nudge or the next generation; the old one goes on.
        """
        newest: int | None = None
        try:
            newest = await asyncio.to_thread(self._newest)
            if newest is None or newest <= self._current.snapshot.generation or newest == self._refused:
                return
            snapshot = await self._load(newest)
        except Exception as error:
            # Whatever is wrong with the new generation, those who are served by the old one must not feel it.
            self._refused = newest
            log.error(
                "generation %s cannot be served, generation %d stays: %s",
                newest, self._current.snapshot.generation, error, exc_info=not isinstance(error, IndexerError),
            )  # fmt: skip
            return
        self._current.swap(snapshot)
        self._embed_queue.keep(snapshot)
        log.info("generation %d is served now", newest)
        # Opens the new generation's network before somebody waits for it, and closes those that it has no use for.
        problem = await self._embed_queue.problem(snapshot)
        if problem:
            log.warning("queries by picture cannot be answered: %s", problem)

    async def _load(self, generation: int) -> Snapshot:
        loading = asyncio.create_task(
            asyncio.to_thread(lambda: self._loader.load(CollectionReader.open(self._root, generation)))
        )
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            # The thread cannot be stopped; what it still brings must not stay open.
            loading.add_done_callback(_close_late)
            raise

    def _newest(self) -> int | None:
        published = generations.numbers(self._storage)
        return published[-1] if published else None


def _close_late(loading: asyncio.Task[Snapshot]) -> None:
    if not loading.cancelled() and loading.exception() is None:
        loading.result().close()
