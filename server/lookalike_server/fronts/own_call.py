"""A call that a front answers itself, and what it needs of the engine process: admission, searches, reply bytes."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from lookalike_indexer.arrays import Float32
from lookalike_server.batching.waiting import Answer, Inbox
from lookalike_server.common import call_record as record
from lookalike_server.common.call_record import CallRecord, Stage
from lookalike_server.fronts.array_messages import ArrayCall, ArraySearch
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits

# A front process does not load faiss.
if TYPE_CHECKING:
    from lookalike_server.observe.audit import AuditEffort

# Only the front counts replies up to this many bytes: all of a peer's together are small.
_SMALL = 1 << 16


class ElsewhereError(Exception):
    """The engine process must answer the call, because it no longer serves what the front has."""


class EngineCalls(Protocol):
    """The connection to the engine process, as a call uses it. Raises DeviceError if that process is gone."""

    def open_call(self, call: OwnCall, asked: ArrayCall) -> None: ...

    async def admit(self, call: OwnCall) -> None:
        """Wait until the call is admitted. Raises RefusedError or ElsewhereError if it is not."""
        ...

    def find(self, asked: ArraySearch, search: WaitingSearch) -> int: ...

    async def reserve(self, call: OwnCall, size: int) -> None: ...


class WaitingSearch:
    """A search that the engine process runs for a call."""

    def __init__(self, call: OwnCall, ticket: int, inbox: Inbox) -> None:
        self.call = call
        self._ticket, self._inbox = ticket, inbox
        self._sent = time.perf_counter()

    def end(self, outcome: Answer[Hits] | Exception) -> None:
        """Deliver the result."""
        if isinstance(outcome, Answer) and self.call.record is not None:
            took = (outcome.queue_us + outcome.run_us) / 1e6
            passed = max(0.0, time.perf_counter() - self._sent - took)
            self.call.record.stages.append(Stage("handover", self._sent, passed))
        self._inbox.put([(self._ticket, outcome)])


class OwnCall:
    """A call of a front. It is opened at the engine process on first use, which counts it from then on."""

    def __init__(self, line: EngineCalls, number: int, asked: ArrayCall, effort: AuditEffort = "default") -> None:
        self._line, self._asked, self._effort = line, asked, effort
        self.number = number
        self.record: CallRecord | None = record.current()
        # Tickets of its searches, and the error if it was not admitted.
        self.tickets: set[int] = set()
        self.refused: Exception | None = None
        self.is_open = False

    async def admit(self) -> None:
        """Open the call and wait for admission. Raises RefusedError, ElsewhereError, and DeviceError."""
        self._open()
        await self._line.admit(self)

    def find(
        self, space: int, queries: Float32, k: int, plan: Plan, ticket: int, inbox: Inbox, deadline: float | None
    ) -> int:
        """Request a search; its outcome goes to `inbox`. Raises DeviceError if the engine process is gone."""
        self._open()
        asked = ArraySearch(self.number, space, queries, k, plan, deadline, self._effort)
        return self._line.find(asked, WaitingSearch(self, ticket, inbox))

    async def reserve(self, reply: bytes) -> None:
        """Count a reply. Raises RefusedError if it exceeds a limit."""
        if self.is_open and len(reply) > _SMALL:
            await self._line.reserve(self, len(reply))

    def _open(self) -> None:
        if not self.is_open:
            self._line.open_call(self, self._asked)
            self.is_open = True


_CURRENT: ContextVar[OwnCall | None] = ContextVar("lookalike_own_call", default=None)


def resume(call: OwnCall) -> None:
    """Make a call the current call of this task."""
    _CURRENT.set(call)


def current_call() -> OwnCall:
    """Return the current call of this task."""
    call = _CURRENT.get()
    if call is None:
        raise RuntimeError("only calls are answered by a front")
    return call
