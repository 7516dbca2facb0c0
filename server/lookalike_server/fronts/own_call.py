"""A call that a front answers itself, as far as it needs the engine process: a place, searches, room for its reply."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from lookalike_indexer.arrays import Float32
from lookalike_server.batching.waiting import Answer, Inbox
from lookalike_server.common import call_record as record
from lookalike_server.common.call_record import CallRecord, Stage
from lookalike_server.fronts.array_messages import AskedCall, AskedSearch
from lookalike_server.search.effort import Plan
from lookalike_server.search.hits import Hits

# A front loads no faiss.
if TYPE_CHECKING:
    from lookalike_server.observe.audit import AuditEffort

# A reply of up to so many bytes is counted by its front alone: all those of a peer together are few.
_SMALL = 1 << 16


class ElsewhereError(Exception):
    """The engine process has to answer the call: what it serves is no longer what the front has."""


class Line(Protocol):
    """What a call needs of the connection to the engine process. DeviceError: nobody is there."""

    def ask(self, call: OwnCall, asked: AskedCall) -> None: ...

    async def let_in(self, call: OwnCall) -> None:
        """Wait until the call has been let in. RefusedError, ElsewhereError: it has not."""
        ...

    def find(self, asked: AskedSearch, search: WaitingSearch) -> int: ...

    async def reserve(self, call: OwnCall, size: int) -> None: ...


class WaitingSearch:
    """A search that the engine process makes for a call."""

    def __init__(self, call: OwnCall, ticket: int, inbox: Inbox) -> None:
        self.call = call
        self._ticket, self._inbox = ticket, inbox
        self._sent = time.perf_counter()

    def end(self, outcome: Answer[Hits] | Exception) -> None:
        """Hand over its result."""
        if isinstance(outcome, Answer) and self.call.record is not None:
            took = (outcome.queue_us + outcome.run_us) / 1e6
            passed = max(0.0, time.perf_counter() - self._sent - took)
            self.call.record.stages.append(Stage("handover", self._sent, passed))
        self._inbox.put([(self._ticket, outcome)])


class OwnCall:
    """Asks the engine process when it is first needed, which counts the call from then on."""

    def __init__(self, line: Line, number: int, asked: AskedCall, effort: AuditEffort = "default") -> None:
        self._line, self._asked, self._effort = line, asked, effort
        self.number = number
        self.record: CallRecord | None = record.current()
        # The tickets of its searches, and why it was not let in.
        self.tickets: set[int] = set()
        self.refused: Exception | None = None
        self.is_open = False

    async def let_in(self) -> None:
        """Ask, and wait for the answer. RefusedError, ElsewhereError, DeviceError: see Line."""
        self._open()
        await self._line.let_in(self)

    def find(
        self, space: int, queries: Float32, k: int, plan: Plan, ticket: int, inbox: Inbox, deadline: float | None
    ) -> int:
        """Have a search made, whose outcome comes to `inbox`. DeviceError: nobody is there."""
        self._open()
        asked = AskedSearch(self.number, space, queries, k, plan, deadline, self._effort)
        return self._line.find(asked, WaitingSearch(self, ticket, inbox))

    async def reserve(self, reply: bytes) -> None:
        """Count a reply. RefusedError: it is one too many."""
        if self.is_open and len(reply) > _SMALL:
            await self._line.reserve(self, len(reply))

    def _open(self) -> None:
        if not self.is_open:
            self._line.ask(self, self._asked)
            self.is_open = True


_CURRENT: ContextVar[OwnCall | None] = ContextVar("lookalike_own_call", default=None)


def resume(call: OwnCall) -> None:
    """Let a call be that of this task."""
    _CURRENT.set(call)


def current_call() -> OwnCall:
    """The call of this task."""
    call = _CURRENT.get()
    if call is None:
        raise RuntimeError("only calls are answered by a front")
    return call
