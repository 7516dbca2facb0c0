"""Commit of changes in one order: logged in groups, applied, and visible to all calls before they are acknowledged."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lookalike_indexer.errors import DeviceError
from lookalike_server.common.errors import OverloadedError
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.live.changes import Change, NewImages, logged_ids
from lookalike_server.live.log_writer import LogWriter
from lookalike_server.live.state import Computed, Outcome, State

log = logging.getLogger(__name__)

# Largest number of bytes of a group, which bounds what one sync writes.
_GROUP_BYTES = 32 << 20
# Largest number of changes that wait to be written.
_MOST_WAITING = 4096
_RETRY_S = 0.5


@dataclass(frozen=True)
class Committed:
    """A change that is on the disk and visible: its sequence, and its outcome."""

    sequence: int
    outcome: Outcome


@dataclass
class _Waiting:
    change: Change
    computed: Computed | None
    # The record for the log, without the ids of new images.
    payload: bytes
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Committed] = field(init=False)
    size: int = 0

    def __post_init__(self) -> None:
        self.answer = self.loop.create_future()
        self.size = len(self.payload)

    def end(self, outcome: Committed | Exception) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class Committer:
    """Thread that commits changes in the order of arrival, with all that have arrived in one group.

    `lock` is held while a group is committed. Its holder may exchange the state.
    """

    def __init__(
        self, writer: LogWriter, state: Callable[[], State], publish: Callable[[Snapshot], None], max_rows: int
    ) -> None:
        self._writer, self._state, self._publish, self._max_rows = writer, state, publish, max_rows
        self.lock = threading.Lock()
        self._queue: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = self._broken = False
        # Why no change can be accepted; "" if it can.
        self.problem = ""
        self._thread = threading.Thread(target=self._work, name="changes", daemon=True)
        self._thread.start()

    async def commit(self, change: Change, payload: bytes, computed: Computed | None = None) -> Committed:
        """Commit a change, whose record `changes.logged` returns. A canceled caller does not undo it.

        Raises OverloadedError if too many changes wait to be folded or written, or the disk is
        full. Raises DeviceError if the change could not be written, and so did not happen.
        """
        waiting = _Waiting(change, computed, payload, asyncio.get_running_loop())
        with self._changed:
            if self._closed:
                raise DeviceError("The server is stopping and accepts no more changes.")
            if self._broken:
                raise DeviceError("A change could not be applied; restart the server and see its log.")
            if len(self._queue) >= _MOST_WAITING:
                raise OverloadedError(f"{len(self._queue)} changes are queued; retry later.", _RETRY_S)
            self._queue.append(waiting)
            self._changed.notify()
        return await waiting.answer

    def end_segment(self) -> None:
        """Begin a new segment of the log. Hold the lock. Blocks, so do not call it on the event loop."""
        self._writer.end_segment()

    def close(self) -> None:
        """Commit what has arrived, end the thread, and close the log. Blocks, so do not call it on the event loop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._writer.close()

    def _work(self) -> None:
        while group := self._taken():
            try:
                with self.lock:
                    outcomes = self._commit(group)
            except Exception as error:
                # Any error must reach the callers that wait.
                if not isinstance(error, (OverloadedError, DeviceError)):
                    log.exception("%d changes could not be committed", len(group))
                log.error("%d changes were not stored: %s", len(group), error)
                self.problem = str(error)
                _answer(group, [error] * len(group))
            else:
                self.problem = ""
                _answer(group, outcomes)

    def _taken(self) -> list[_Waiting]:
        """Wait for changes, and return as many as a group can have; none if closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._queue)
            count = size = 0
            for waiting in self._queue:
                size += waiting.size
                if count and size > _GROUP_BYTES:
                    break
                count += 1
            group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _commit(self, group: list[_Waiting]) -> list[Committed | Exception]:
        state = self._state()
        room = self._max_rows - state.rows
        last_id = state.last_id
        outcomes: list[Committed | Exception] = []
        kept: list[tuple[int, _Waiting, Any]] = []
        payloads: list[bytes] = []
        for waiting in group:
            ids = state.next_ids(0)
            if isinstance(waiting.change, NewImages):
                count = len(waiting.change.keys)
                if count > room:
                    outcomes.append(
                        OverloadedError(
                            f"{state.rows} images wait to become part of a generation; there may be {self._max_rows}, "
                            "which is max_live_rows. Fold them with client.fold(), or raise max_live_rows.",
                            _RETRY_S,
                        )
                    )
                    continue
                room -= count
                ids = state.next_ids(count) + (last_id - state.last_id)
                last_id += count
            payloads.append(waiting.payload + logged_ids(ids))
            kept.append((len(outcomes), waiting, ids))
            outcomes.append(DeviceError("The change was not applied."))
        if not payloads:
            return outcomes
        sequence = self._writer.sequence
        self._writer.append(payloads)
        try:
            for number, (place, waiting, ids) in enumerate(kept, start=1):
                outcome = state.apply(sequence + number, waiting.change, ids, waiting.computed)
                outcomes[place] = Committed(sequence + number, outcome)
            self._publish(state.view())
        except Exception:
            # From now on disk and memory differ. A restart reads the log from the disk.
            self._broken = True
            raise
        return outcomes


def _answer(group: list[_Waiting], outcomes: list[Any]) -> None:
    """Answer the callers that wait, each in its event loop."""
    loops = {waiting.loop for waiting in group}
    for loop in loops:
        pairs = [(waiting, outcome) for waiting, outcome in zip(group, outcomes, strict=True) if waiting.loop is loop]
        try:
            loop.call_soon_threadsafe(_end, pairs)
        except RuntimeError:
            # The event loop closed because the server stopped.
            continue


def _end(pairs: list[tuple[_Waiting, Any]]) -> None:
    for waiting, outcome in pairs:
        waiting.end(outcome)
