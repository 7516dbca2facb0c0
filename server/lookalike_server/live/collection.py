"""Changes to one served collection: replayed at startup and for each generation, then followed or accepted."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from lookalike_indexer.collection import changelog, uploaded_images
from lookalike_indexer.collection.location import open_storage
from lookalike_indexer.errors import DeviceError, IndexerError, NotBuiltError, UsageError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live import changes
from lookalike_server.live.committer import Committer
from lookalike_server.live.log_writer import FULL, LogWriter, full_disk, writer_of
from lookalike_server.live.snapshot import LiveSnapshot
from lookalike_server.live.state import State

log = logging.getLogger(__name__)

# Interval at which a read-only server polls the log for changes.
_FOLLOW_S = 0.05
# Threads that write image files.
_KEEPERS = 4


@dataclass(frozen=True)
class ChangesSummary:
    """Summary of the changes to a collection."""

    writable: bool
    sequence: int
    added: int
    deleted: int
    problem: str


class LiveCollection:
    """Applies the log of a collection's changes to the served generation.

    Call `begin` once before the first generation is loaded, and serve each generation inside
    `adopting`. A `writable` instance also accepts changes, by `committer`. Others follow the log.
    """

    def __init__(self, root: str, limits: Limits, *, writable: bool) -> None:
        self._storage = open_storage(root)
        self._limits = limits
        self._writable = writable
        self._current: Current | None = None
        self._state: State | None = None
        self._tail: changelog.Tail | None = None
        self._committer: Committer | None = None
        # A pool of its own, because its threads may wait for a garbage collection while all else must continue.
        self._keepers = ThreadPoolExecutor(_KEEPERS, thread_name_prefix="uploads")
        # Held while the state is changed or exchanged, if there is no committer.
        self._own_lock = threading.Lock()

    def begin(self, folded_through: int) -> None:
        """Take over the log, if writable. Raises CollectionLockedError if another server writes it."""
        if self._writable and not self._storage.is_local:
            raise UsageError(
                f"--writable needs a collection in a folder, because an object store cannot append to a log; serve "
                f"{self._storage.location} without it, or copy the collection to a disk."
            )
        if self._writable and self._committer is None:
            writer = LogWriter(self._storage, folded_through)
            if writer.held.damaged_bytes:
                log.error(
                    "the change log is damaged: the server ignores %d unreadable bytes after change %d",
                    writer.held.damaged_bytes, writer.held.last,
                )  # fmt: skip
            self._committer = Committer(writer, self._there, self._publish, self._limits.max_live_rows)

    @property
    def writable(self) -> bool:
        """True if this server accepts changes."""
        return self._writable

    def serve(self, current: Current) -> None:
        """Publish changes to `current`, which leases snapshots to calls."""
        self._current = current

    @property
    def committer(self) -> Committer:
        """Committer of changes. Raises NotBuiltError if this server accepts none."""
        if self._committer is None:
            holder = writer_of(self._storage)
            other = "" if holder is None else f" Process {holder.pid} on {holder.host} accepts them."
            raise NotBuiltError(
                "This server accepts no changes; serve the collection with: lookalike serve --writable" + other
            )
        return self._committer

    def replayed(self, base: Snapshot) -> State:
        """Return the changes so far, applied to a generation. Reads the log, so do not call it on the event loop."""
        state, tail = self._begun(base)
        _follow(state, tail)
        return state

    @asynccontextmanager
    async def adopting(self, base: Snapshot) -> AsyncIterator[Snapshot]:
        """Yield a generation with all its changes, which must be served by the end of the block.

        The block excludes other changes. Threads wait for the lock, not the event loop.
        """
        state, tail = self._begun(base)
        await asyncio.to_thread(_follow, state, tail)
        await asyncio.to_thread(self._lock.acquire)
        try:
            # Only a few changes have come since.
            await asyncio.to_thread(_follow, state, tail)
            self._state, self._tail = state, tail
            if self._committer is not None:
                await asyncio.to_thread(self._committer.end_segment)
            yield state.view()
        finally:
            self._lock.release()

    async def follow(self) -> None:
        """Apply what another server logs, until canceled."""
        while self._committer is None:
            await asyncio.sleep(_FOLLOW_S)
            if self._state is not None and self._storage.is_local and self._storage.local(changelog.FOLDER).is_dir():
                try:
                    await asyncio.to_thread(self._follow)
                except Exception:
                    log.exception("the server cannot follow the change log; it retries")

    def _follow(self) -> None:
        with self._lock:
            state, tail = self._state, self._tail
            if state is None or tail is None:
                return
            try:
                changed = _follow(state, tail)
            except changelog.OverruledError:
                state, tail = self._begun(state.base)
                _follow(state, tail)
                self._state, self._tail = state, tail
                changed = True
            if changed:
                self._publish(state.view())

    def summary(self, snapshot: Snapshot) -> ChangesSummary:
        """Return the summary of a snapshot's changes."""
        live = snapshot if isinstance(snapshot, LiveSnapshot) else None
        return ChangesSummary(
            self._committer is not None,
            snapshot.sequence,
            0 if live is None else live.added,
            0 if live is None else live.gone,
            "" if self._committer is None else self._committer.problem,
        )

    @asynccontextmanager
    async def keeping(self, pictures: Sequence[bytes]) -> AsyncIterator[list[str]]:
        """Store image files in the collection, and yield their URIs once they are on the disk.

        By the end of the block something must refer to them, or they may be removed. Raises
        OverloadedError if the disk is full, and DeviceError if a file could not be written.
        """
        if not pictures:
            yield []
            return
        held, uris = await asyncio.get_running_loop().run_in_executor(self._keepers, self._kept, pictures)
        with held:
            yield uris

    def _kept(self, pictures: Sequence[bytes]) -> tuple[ExitStack, list[str]]:
        """Return a guard that keeps others from removing the files, and their URIs."""
        # One step in one thread, so that the holder of the lock never waits for a thread that waits for the lock.
        with ExitStack() as stack:
            stack.enter_context(uploaded_images.unnamed(self._storage))
            uris = self._stored(pictures)
            return stack.pop_all(), uris

    def _stored(self, pictures: Sequence[bytes]) -> list[str]:
        try:
            return uploaded_images.store(self._storage, pictures)
        except IndexerError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in FULL:
                raise full_disk() from error
            raise DeviceError(f"An image could not be stored, so the server changed nothing: {error}") from error

    @property
    def state(self) -> State:
        """State with the changes so far. Hold the lock while you use it."""
        return self._there()

    @property
    def lock(self) -> threading.Lock:
        """Lock that is held while changes are applied."""
        return self._lock

    def close(self) -> None:
        """Close the log. Blocks, so do not call it on the event loop."""
        if self._committer is not None:
            self._committer.close()
        self._keepers.shutdown(wait=False)

    @property
    def _lock(self) -> threading.Lock:
        return self._own_lock if self._committer is None else self._committer.lock

    def _begun(self, base: Snapshot) -> tuple[State, changelog.Tail]:
        state = State(base, base.sequence, self._limits.max_filter_bytes)
        return state, changelog.Tail(self._storage, base.sequence)

    def _there(self) -> State:
        if self._state is None:
            raise NotBuiltError("The collection is not loaded yet, so it accepts no changes; retry later.")
        return self._state

    def _publish(self, view: Snapshot) -> None:
        if self._current is not None:
            self._current.publish(view)


def _follow(state: State, tail: changelog.Tail) -> bool:
    """Apply new changes of the log to the state. Return whether there were any."""
    changed = False
    for sequence, payload in tail.read():
        try:
            change, ids = changes.read(payload)
        except (DecodeError, IndexerError, ValueError) as error:
            raise IndexerError(
                f"The change {sequence} cannot be read by this version of Lookalike: {error}. Serve the collection "
                "with the version that wrote it."
            ) from error
        state.apply(sequence, change, ids)
        changed = True
    return changed
