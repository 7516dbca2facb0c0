"""Folding in the background: changes become part of the next generation, which is loaded like any other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.errors import CollectionLockedError, DeviceError, IndexerError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current
from lookalike_server.live.collection import LiveCollection
from lookalike_server.live.snapshot import LiveSnapshot

log = logging.getLogger(__name__)

# Interval of checks, and pause after a failed fold, in seconds.
_LOOK_S = 1.0
_AGAIN_S = 30.0


class Folded(NamedTuple):
    """A generation, and the sequence of the last change in it."""

    generation: int
    sequence: int


class Folding:
    """Folds the changes to one collection if there are many, if they are old, and on request.

    `load_newest` serves the newest generation, as Reloader does.
    """

    def __init__(
        self,
        root: str,
        current: Current,
        live: LiveCollection,
        limits: Limits,
        load_newest: Callable[[], Awaitable[int]],
    ) -> None:
        self._storage = open_storage(root)
        self._current, self._live, self._limits, self._load_newest = current, live, limits, load_newest
        self._lock = asyncio.Lock()
        # When the oldest pending change was first seen, in the time of `time.monotonic`; None if there is none.
        self._since: float | None = None
        # Seconds since 1970; 0 if this server has folded nothing.
        self.last_fold = 0.0
        # Why the last attempt failed; "" if it succeeded.
        self.problem = ""

    async def watch(self) -> None:
        """Fold by the rules until canceled, if this server accepts changes."""
        if not self._live.writable:
            return
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self._is_due():
                continue
            try:
                await self.fold()
            except Exception as error:
                log.error(
                    "the server could not fold the changes into a generation: %s",
                    error,
                    exc_info=not isinstance(error, IndexerError),
                )
                await asyncio.sleep(_AGAIN_S)

    async def fold(self) -> Folded:
        """Make a generation of the changes so far, and serve it.

        Raises DeviceError if another process writes to the collection. One fold runs at a time. A
        canceled caller does not end it.
        """
        return await asyncio.shield(asyncio.ensure_future(self._fold()))

    async def _fold(self) -> Folded:
        async with self._lock:
            with self._current.lease() as snapshot:
                if not isinstance(snapshot, LiveSnapshot):
                    return Folded(snapshot.generation, snapshot.sequence)
                began = time.monotonic()
                try:
                    await asyncio.to_thread(self._made, snapshot)
                except Exception as error:
                    self.problem = str(error)
                    raise
            self.problem, self._since, self.last_fold = "", None, time.time()
            generation = await self._load_newest()
            log.info(
                "folded changes up to %d into generation %d in %.1f s",
                snapshot.sequence, generation, time.monotonic() - began,
            )  # fmt: skip
            return Folded(generation, snapshot.sequence)

    def _made(self, view: LiveSnapshot) -> None:
        """Publish the generation. Takes time, so do not call it on the event loop."""
        # Imported here, because most servers never fold, and the import would delay startup.
        from lookalike_indexer.upkeep.fold import fold
        from lookalike_server.live.captured import changes_of

        try:
            with writing(self._storage, sweep=False):
                manifest = generations.require_latest(self._storage)
                if manifest.generation != view.generation:
                    raise DeviceError(
                        f"Generation {manifest.generation} was published and is not served yet; retry later."
                    )
                fold(self._storage, manifest, changes_of(view))
        except CollectionLockedError as error:
            raise DeviceError(f"The server cannot fold the changes into a generation: {error}") from error

    def _is_due(self) -> bool:
        snapshot = self._current.newest
        if not isinstance(snapshot, LiveSnapshot):
            self._since = None
            return False
        if self._since is None:
            self._since = time.monotonic()
        limits, rows = self._limits, snapshot.added_ever + snapshot.gone
        old = time.monotonic() - self._since > limits.fold_ms / 1000
        return old or rows >= limits.fold_rows or snapshot.nbytes >= limits.fold_bytes
