"""Following the collection: a newer generation is loaded beside the old one and swapped in."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, Protocol

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Stamp
from lookalike_indexer.errors import DeviceError, IndexerError, NotFoundError
from lookalike_server.common.errors import refusal
from lookalike_server.generation.current import Current
from lookalike_server.generation.loader import Loader
from lookalike_server.generation.memory_trim import trim_memory
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.processes.embedding import EmbedQueue

log = logging.getLogger(__name__)


# Yields a generation with its changes; no further change is applied before the block ends.
Adopting = Callable[[Snapshot], AbstractAsyncContextManager[Snapshot]]


@asynccontextmanager
async def _as_it_is(snapshot: Snapshot) -> AsyncIterator[Snapshot]:
    yield snapshot


class Sharing(Protocol):
    """Shares generations with other processes, which swap to each at the same time."""

    async def prepare(self, snapshot: Snapshot) -> None:
        """Let the others prepare to serve a generation."""
        ...

    async def serve(self) -> None:
        """Let the others serve the prepared generation, which this process serves now."""
        ...

    async def withdraw(self) -> None:
        """Let the others drop the prepared generation."""
        ...


class PublishedGeneration(NamedTuple):
    """A generation on the disk. The stamp distinguishes it from one of a recreated collection."""

    generation: int
    stamp: Stamp


class Reloader:
    """Checks for a newer generation every `interval` seconds, and at once when nudged."""

    def __init__(
        self,
        root: str,
        loader: Loader,
        current: Current,
        embed_queue: EmbedQueue,
        interval: float,
        adopting: Adopting | None = None,
        limit_s: float | None = None,
    ) -> None:
        """`adopting` yields a generation with its changes, as LiveCollection.adopting does.

        A load that takes longer than `limit_s` has hung; None means no limit.
        """
        self._root = root
        # Distinguishes log lines if there are several collections.
        self._prefix = f"{loader.name}: " if loader.name else ""
        self._storage = open_storage(root)
        self._loader = loader
        self._current = current
        self._embed_queue = embed_queue
        self._interval = interval
        self._adopting = adopting or _as_it_is
        self._limit_s = limit_s
        # A load that was given up, whose thread has not returned.
        self._hung: asyncio.Task[Snapshot] | None = None
        self._sharing: Sharing | None = None
        self._nudged = asyncio.Event()
        # The last checked generation, one that is not retried, one whose failure is already logged, and the one known
        # to be served.
        self._tried: PublishedGeneration | None = None
        self._refused: PublishedGeneration | None = None
        self._complained: tuple[PublishedGeneration | None] | None = None
        self._served: PublishedGeneration | None = None
        # The generation whose network was opened.
        self._opened = None if current.newest is None else weakref.ref(current.newest.base)
        # Task that loads the newest generation for all callers; None if none runs.
        self._loading: asyncio.Task[int] | None = None
        # The generation that this task skips.
        self._but: PublishedGeneration | None = None

    def nudge(self) -> None:
        """Check now, and retry a generation that could not be loaded before."""
        self._refused = self._complained = None
        self._nudged.set()

    async def watch(self) -> None:
        """Follow the collection until canceled."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            self._nudged.clear()
            await self.follow()

    async def follow(self) -> None:
        """Load and swap in the newest generation if it differs from the served one.

        One that cannot be loaded is logged once and not retried until the next nudge or generation;
        the old one stays. If only a device is the reason, it is retried.
        """
        try:
            await self.load_newest(self._refused)
        except Exception as error:
            # A faulty new generation must not affect the old one.
            self._note(error)
        if self._current.newest is None:
            return
        with self._current.lease() as snapshot:
            if self._opened is None or snapshot.base is not self._opened():
                self._opened = weakref.ref(snapshot.base)
                await self._open_network(snapshot)
                await asyncio.to_thread(trim_memory)

    async def note_failure(self, error: Exception) -> None:
        """Record that nothing could be loaded at startup. The collection is followed in any case."""
        self._tried = await asyncio.to_thread(self._newest)
        self._note(error)

    def _note(self, error: Exception) -> None:
        """Log once that the last tried generation cannot be loaded, and decide whether to retry it."""
        newest, served = self._tried, self._current.newest
        if (newest,) != self._complained:
            stays = "" if served is None else f", generation {served.generation} stays in use"
            log.error(
                "%sgeneration %s cannot be served%s: %s: %s",
                self._prefix, newest.generation if newest else "?", stays,
                refusal(error).code.name, error, exc_info=not isinstance(error, IndexerError),
            )  # fmt: skip
        self._complained = (newest,)
        self._refused = None if isinstance(error, DeviceError) else newest
        if served is None:
            self._current.problem = refusal(error).message

    async def load_newest(self, but: PublishedGeneration | None = None) -> int:
        """Serve the newest generation if it differs and is not `but`. Return the served one, 0 for none.

        It differs if its number is higher, and also if the collection was recreated or set back to
        an earlier generation. Raises what Loader.load raises; then the old one stays.

        Only one generation is loaded at a time, for all callers. A running load continues when its
        callers leave, because its thread cannot be stopped, and its result is served.
        """
        # An earlier load may be of an older generation than this caller knows of. Its error goes to its own callers.
        earlier = self._loading
        while (loading := self._loading) is not None and (loading is earlier or self._but not in (None, but)):
            await asyncio.wait([loading])
        if loading is None:
            self._but = but
            self._loading = loading = asyncio.create_task(self._load_newest(but))
            loading.add_done_callback(self._loaded)
        return await asyncio.shield(loading)

    async def close(self) -> None:
        """Give up a running load: what its thread still loads is closed."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])

    def _loaded(self, loading: asyncio.Task[int]) -> None:
        self._loading = None
        if not loading.cancelled():
            # Marks the error as retrieved, because its callers may have left.
            loading.exception()

    async def _load_newest(self, but: PublishedGeneration | None) -> int:
        self._tried = None
        newest = self._tried = await asyncio.to_thread(self._newest)
        served = self._current.newest
        if served is None:
            if newest is not None and newest == but:
                return 0
        elif newest is None or newest in (but, self._served):
            return served.generation
        elif await asyncio.to_thread(self._is_served, newest, served):
            self._served = newest
            return served.generation
        snapshot = await self._load(None if newest is None else newest.generation)
        await self._swap(snapshot)
        self._served = newest
        self._embed_queue.retain_networks(snapshot)
        log.info("%snow serving generation %d", self._prefix, snapshot.generation)
        # The caller need not wait for the network, which `watch` opens.
        self._nudged.set()
        return snapshot.generation

    async def share_by(self, sharing: Sharing) -> None:
        """Share the served generation, and all later ones, with other processes."""
        self._sharing = sharing
        served = self._current.newest
        if served is not None:
            await sharing.prepare(served.base)
            await sharing.serve()

    async def _swap(self, snapshot: Snapshot) -> None:
        """Serve another generation here and in the processes that share it."""
        sharing = self._sharing
        if sharing is not None:
            try:
                await sharing.prepare(snapshot)
            except BaseException:
                await sharing.withdraw()
                snapshot.close()
                raise
        try:
            async with self._adopted(snapshot) as view:
                self._current.swap(view)
        except BaseException:
            if sharing is not None:
                await sharing.withdraw()
            raise
        if sharing is not None:
            await sharing.serve()

    @asynccontextmanager
    async def _adopted(self, snapshot: Snapshot) -> AsyncIterator[Snapshot]:
        """Like `adopting`, but close a generation that cannot be adopted."""
        served = False
        try:
            async with self._adopting(snapshot) as view:
                yield view
                served = True
        finally:
            if not served:
                snapshot.close()

    async def _open_network(self, snapshot: Snapshot) -> None:
        """Open the new generation's network before calls need it, and close unused ones."""
        problem = await self._embed_queue.problem(snapshot)
        if problem:
            log.warning("the server cannot answer image queries: %s", problem)

    async def _load(self, generation: int | None) -> Snapshot:
        """Load a generation; None means the newest one, which must exist.

        Raises DeviceError if it takes too long, or an earlier load still does.
        """
        if self._hung is not None and not self._hung.done():
            raise self._late()
        loading = asyncio.create_task(
            asyncio.to_thread(lambda: self._loader.load(CollectionReader.open(self._root, generation)))
        )
        try:
            async with asyncio.timeout(self._limit_s):
                return await asyncio.shield(loading)
        except asyncio.CancelledError:
            # The thread cannot be stopped; what it still loads must not stay open.
            loading.add_done_callback(_close_late)
            raise
        except TimeoutError as error:
            if loading.done():
                # It has ended at the same moment, or the error is its own.
                return loading.result()
            self._hung = loading
            loading.add_done_callback(_close_late)
            raise self._late() from error

    def _late(self) -> DeviceError:
        return DeviceError(
            f"Loading a generation takes longer than {self._limit_s:g} s, which is max_load_ms; check the disk. "
            "The server loads nothing else until it returns."
        )

    def _newest(self) -> PublishedGeneration | None:
        published = generations.numbers(self._storage)
        try:
            if not published:
                return None
            return PublishedGeneration(published[-1], self._storage.stamp(layout.generation(published[-1])))
        except NotFoundError:
            return None  # being deleted right now

    def _is_served(self, newest: PublishedGeneration, served: Snapshot) -> bool:
        """Return whether a manifest, possibly of a rewritten file, is that of the served generation."""
        if newest.generation != served.generation:
            return False
        return generations.read(self._storage, newest.generation) == served.reader.manifest


def _close_late(loading: asyncio.Task[Snapshot]) -> None:
    if not loading.cancelled() and loading.exception() is None:
        loading.result().close()
