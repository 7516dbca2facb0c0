"""A front's connection to the engine process: calls go out; answers, health, and places come back."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike_indexer.errors import DeviceError
from lookalike_server.batching.waiting import Answer
from lookalike_server.common import call_record as record
from lookalike_server.common import reply_room, visible
from lookalike_server.common.errors import RefusedError
from lookalike_server.common.settings import CollectionSettings
from lookalike_server.fronts.array_messages import ArrayCall, ArraySearch, decode_answer
from lookalike_server.fronts.frames import Frames, Incoming, Kind
from lookalike_server.fronts.front_generations import FrontGenerations
from lookalike_server.fronts.messages import ForwardedCall, ForwardedReply, FrontState
from lookalike_server.fronts.own_call import ElsewhereError, OwnCall, WaitingSearch
from lookalike_server.search.hits import Hits
from lookalike_server.transport.collection_names import limited
from lookalike_server.transport.health import NOT_SERVING, Statuses
from lookalike_server.transport.interceptors import Call, abort

# A front process does not load faiss.
if TYPE_CHECKING:
    from lookalike_server.observe.audit import AuditEffort

log = logging.getLogger(__name__)

# Seconds between attempts to reach an engine process that is starting.
_PAUSE_S = 0.05
_STATE_S = 1.0


class EngineLink:
    """Keeps the connection to the engine process and forwards calls.

    If the connection is lost, calls get DeviceError.
    """

    def __init__(
        self, path: Path, number: int, state: Callable[[], FrontState], collections: Sequence[CollectionSettings]
    ) -> None:
        self._path, self._number, self._state = path, number, state
        self._link: Frames | None = None
        self._waiting: dict[int, asyncio.Future[Incoming[ForwardedReply]]] = {}
        # Replies with missing pieces.
        self._arriving: dict[int, Incoming[ForwardedReply]] = {}
        self._numbers = itertools.count()
        self._statuses: Statuses | None = None
        self._told: set[str] = set()
        self._telling: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        # Calls that this front answers itself, and their searches by ticket.
        self._own: dict[int, OwnCall] = {}
        self._searches: dict[int, WaitingSearch] = {}
        self.generations = FrontGenerations(collections, self._send)

    async def connect(self, statuses: Statuses) -> None:
        """Connect once the engine process is ready. From then on, `statuses` gets the health of names."""
        self._statuses = statuses
        while self._link is None:
            try:
                await self._connect()
            except OSError:
                await asyncio.sleep(_PAUSE_S)

    async def maintain(self) -> None:
        """Reconnect whenever the engine process has gone, and send it this front's state; forever."""
        while True:
            if self._link is None:
                with suppress(OSError):
                    await self._connect()
                    log.info("this front has reconnected to the engine process")
            await asyncio.sleep(_PAUSE_S if self._link is None else _STATE_S)
            if self._link is not None:
                self._link.send(Kind.STATE, 0, self._state().encoded())

    async def publish_health(self) -> None:
        """Publish the health that the engine process reports, forever. Without that process, nothing serves."""
        while True:
            service, status = await self._telling.get()
            if self._statuses is not None:
                await self._statuses.set(service, status)

    def forwarded(self, method: str) -> Call:
        """Return a handler that takes and returns serialized messages of a method."""

        async def forward(message: bytes, context: Any) -> bytes:
            known = record.current()
            left = context.time_remaining()
            caller = limited()
            call = ForwardedCall(
                method,
                None if left is None else self._loop.time() + left,
                visible.hidden(),
                "" if known is None else known.request_id,
                context.peer(),
                "" if known is None else known.caller,
                "" if known is None else known.traceparent,
                () if caller is None else caller.collections,
                len(message),
                reply_room.is_in_pieces(),
            )
            number, answer = self._open()
            # Runs after the reply has been sent, not when the handler returns: until then its bytes count for the peer.
            context.add_done_callback(lambda _: self._close(number))
            sent = time.perf_counter()
            if self._link is not None:
                await self._link.send_message(Kind.CALL, number, call.encoded(), message, answer.done)
            arrived = await answer
            reply = arrived.head
            if known is not None:
                known.collection = reply.collection
                known.answered_by = "engine"
                record.stage("handover", sent, time.perf_counter() - sent - reply.seconds)
                known.stages.extend(reply.stages)
            if reply.refusal is not None:
                await abort(context, reply.refusal)
            if len(arrived.pieces) <= 1:
                return b"".join(arrived.pieces)
            return await asyncio.to_thread(b"".join, arrived.pieces)

        return forward

    def own_call(self, method: str, generation: int, size: int, effort: AuditEffort, context: Any) -> OwnCall:
        """Return a call that this front answers itself from a generation; `size` is that of its message."""
        known = record.current()
        asked = ArrayCall(
            method,
            generation,
            size,
            visible.hidden(),
            "" if known is None else known.request_id,
            context.peer(),
            "" if known is None else known.caller,
        )
        call = OwnCall(self, next(self._numbers), asked, effort)
        context.add_done_callback(lambda _: self.end(call))
        return call

    def open_call(self, call: OwnCall, asked: ArrayCall) -> None:
        """Open a call. This and the following methods implement EngineCalls of own_call.py."""
        if self._link is None:
            raise _lost_error()
        self._own[call.number] = call
        self._link.send(Kind.ASK, call.number, asked.encoded())

    async def admit(self, call: OwnCall) -> None:
        await self._answered(call, Kind.LET_IN)

    async def reserve(self, call: OwnCall, size: int) -> None:
        await self._answered(call, Kind.RESERVE, size.to_bytes(8, "little"))

    def find(self, asked: ArraySearch, search: WaitingSearch) -> int:
        ticket = next(self._numbers)
        if search.call.refused is not None:
            search.end(search.call.refused)
            return ticket
        if self._link is None:
            raise _lost_error()
        self._searches[ticket] = search
        search.call.tickets.add(ticket)
        self._link.send(Kind.FIND, ticket, *asked.encoded())
        return ticket

    def end(self, call: OwnCall) -> None:
        """Withdraw a call whose caller no longer waits."""
        for ticket in call.tickets:
            self._searches.pop(ticket, None)
        if self._own.pop(call.number, None) is not None:
            self._close(call.number, had=True)

    @asynccontextmanager
    async def slot(self, peer: str) -> AsyncIterator[None]:
        """Reserve a slot for a long-lived call; see StreamSlots."""
        number, answer = self._open()
        try:
            self._send(Kind.STREAM, number, peer.encode())
            reply = (await answer).head
            if reply.refusal is not None:
                raise RefusedError(reply.refusal)
            yield
        finally:
            self._close(number)

    async def _connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        _, link = await self._loop.create_unix_connection(lambda: Frames(self._received, self._lost), str(self._path))
        self._link = link
        link.send(Kind.HELLO, self._number)
        link.send(Kind.STATE, 0, self._state().encoded())

    def _received(self, link: Frames, kind: int, number: int, body: bytes) -> None:
        if kind == Kind.FOUND:
            self._end_search(number, decode_answer(body))
        elif kind == Kind.FAILED:
            self._end_search(number, _refused(ForwardedReply.decoded(body)[0]))
        elif kind == Kind.REPLY:
            reply, first = ForwardedReply.decoded(body)
            if number in self._own and number not in self._waiting:
                # It waits for no reply, but is rejected.
                self._refuse(number, _refused(reply))
            else:
                self._arrived(number, Incoming(reply, reply.size, first))
        elif kind == Kind.PIECE:
            # There may be no caller left that waits for it.
            arriving = self._arriving.get(number)
            if arriving is not None:
                arriving.add(body)
                self._arrived(number, arriving)
        elif kind == Kind.ELSEWHERE:
            self._refuse(number, ElsewhereError())
        elif kind == Kind.HEALTH:
            service = body.decode()
            self._told.add(service)
            self._telling.put_nowait((service, number))
        else:
            self.generations.received(kind, number, body)

    def _refuse(self, number: int, error: Exception) -> None:
        """Fail a call that this front answers itself, because the engine process rejected it."""
        call = self._own.get(number)
        if call is None:
            return
        call.refused = error
        waits = self._waiting.get(number)
        if waits is not None and not waits.done():
            waits.set_exception(error)
        for ticket in list(call.tickets):
            self._end_search(ticket, error)

    def _end_search(self, ticket: int, outcome: Answer[Hits] | Exception) -> None:
        search = self._searches.pop(ticket, None)
        if search is not None:
            search.call.tickets.discard(ticket)
            search.end(outcome)

    async def _answered(self, call: OwnCall, kind: Kind, *body: bytes) -> None:
        """Send a frame about a call, and wait for its reply."""
        if call.refused is not None:
            raise call.refused
        if self._link is None:
            raise _lost_error()
        waits = self._waiting[call.number] = self._loop.create_future()
        try:
            self._link.send(kind, call.number, *body)
            reply = (await waits).head
        finally:
            self._waiting.pop(call.number, None)
        if reply.refusal is not None:
            raise _refused(reply)

    def _arrived(self, number: int, reply: Incoming[ForwardedReply]) -> None:
        """Resolve the future of a reply once it is complete."""
        waits = self._waiting.get(number)
        if waits is None or waits.done():
            return
        if reply.complete:
            self._arriving.pop(number, None)
            waits.set_result(reply)
        else:
            self._arriving[number] = reply

    def _lost(self, link: Frames) -> None:
        self._link = None
        self._arriving.clear()
        log.warning("the engine process ended with %d calls of this front in flight", len(self._waiting))
        self.generations.lost()
        for number in list(self._own):
            self._refuse(number, _lost_error())
        for waits in self._waiting.values():
            if not waits.done():
                waits.set_exception(_lost_error())
        for service in self._told:
            self._telling.put_nowait((service, NOT_SERVING))

    def _open(self) -> tuple[int, asyncio.Future[Incoming[ForwardedReply]]]:
        if self._link is None:
            raise _lost_error()
        number = next(self._numbers)
        waits = self._waiting[number] = self._loop.create_future()
        return number, waits

    def _close(self, number: int, had: bool = False) -> None:
        self._arriving.pop(number, None)
        waited = self._waiting.pop(number, None) is not None
        if (waited or had) and self._link is not None:
            self._link.send(Kind.END, number)

    def _send(self, kind: Kind, number: int, *body: bytes) -> None:
        if self._link is not None:
            self._link.send(kind, number, *body)


def _refused(reply: ForwardedReply) -> RefusedError:
    if reply.refusal is None:
        raise RuntimeError("the engine process sent an error without any")
    return RefusedError(reply.refusal)


def _lost_error() -> DeviceError:
    return DeviceError("The engine process of this server ended; the server starts another one. Retry the call.")
