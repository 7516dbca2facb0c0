"""Engine's side of the sockets: accepts the calls of fronts.

Limits of the whole server are enforced here, whichever front a call came through: the calls and
bytes of each peer, and long-lived calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import message_factory

from lookalike_server.common import call_record as record
from lookalike_server.common import reply_room, visible
from lookalike_server.common.call_record import CallRecord
from lookalike_server.common.errors import refusal
from lookalike_server.common.limits import Limits
from lookalike_server.fronts.array_calls import ArrayCalls, FrontCall, FrontInbox
from lookalike_server.fronts.array_messages import ArrayCall, call_of
from lookalike_server.fronts.frames import Frames, Incoming, Kind
from lookalike_server.fronts.messages import ForwardedCall, ForwardedReply, FrontState
from lookalike_server.fronts.shares import Shares
from lookalike_server.served_collection import ServedCollection
from lookalike_server.transport.admission import Account, Accounts, Reservation
from lookalike_server.transport.collection_names import limit_to
from lookalike_server.transport.health import Status
from lookalike_server.transport.interceptors import Call, Errors
from lookalike_server.transport.messages import Messages
from lookalike_server.transport.service_table import SERVED
from lookalike_server.transport.streams import LocalStreamSlots
from lookalike_server.transport.tokens import Caller

log = logging.getLogger(__name__)


class _Method(NamedTuple):
    """Handler of a method, and the parser of its requests."""

    call: Call
    parse: Callable[[bytes], Any]


@dataclass(eq=False)
class _Front:
    """A connected front.

    `arriving` are its calls with incomplete requests, and `ends` releases what each call holds;
    both by call number. `own` are the calls that it answers itself, and `inbox` that of their searches.
    """

    inbox: FrontInbox
    number: int = -1
    state: FrontState = field(default_factory=FrontState)
    arriving: dict[int, Incoming[ForwardedCall]] = field(default_factory=dict)
    ends: dict[int, Callable[[], object]] = field(default_factory=dict)
    own: dict[int, tuple[FrontCall, Reservation]] = field(default_factory=dict)


class _Deadline:
    """The part of gRPC's context that servicers use."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller's deadline, or None if there is none."""
        return None if self._deadline is None else self._deadline - time.monotonic()


class EngineEntrance:
    """Entrance of App on a Unix socket: answers the calls of fronts by servicers.

    `roots` returns the folders to hide from callers that see no paths. `collections` are those of
    the server.
    """

    def __init__(
        self, path: Path, limits: Limits, roots: visible.Roots, collections: Sequence[ServedCollection]
    ) -> None:
        self._path = path
        self._roots = roots
        self._errors = Errors()
        self._messages = Messages(limits.max_text_bytes)
        self._accounts = Accounts(limits)
        self._streams = LocalStreamSlots(limits)
        self._calls = 0
        self._methods: dict[str, _Method] = {}
        self._fronts: dict[Frames, _Front] = {}
        self._server: asyncio.Server | None = None
        self._idle = asyncio.Event()
        self._collections = collections
        self._shares = Shares(self._fronts)
        self._array_calls = ArrayCalls(self._shares, self._errors, roots)
        self.statuses = _Broadcast(self._fronts)

    @property
    def calls_in_flight(self) -> int:
        return self._calls

    @property
    def admission(self) -> EngineEntrance:
        """Calls and bytes in flight of all peers, over all fronts."""
        return self

    @property
    def accounts(self) -> Mapping[str, Account]:
        """Peers with calls in flight."""
        return self._accounts.peers

    @property
    def held_bytes(self) -> int:
        """Bytes of the messages of calls in flight."""
        return self._accounts.total.bytes

    @property
    def streams(self) -> int:
        """Number of long-lived calls."""
        return self._streams.count

    @property
    def arriving(self) -> int:
        """Number of messages that are arriving at all fronts."""
        return sum(front.state.arriving for front in list(self._fronts.values()))

    @property
    def resident_bytes(self) -> Mapping[int, int]:
        """Resident memory of each front, by its number. Thread-safe."""
        return {front.number: front.state.resident_bytes for front in list(self._fronts.values()) if front.number >= 0}

    def add(self, servicers: Mapping[str, Any]) -> None:
        """Register the servicer of each service by its full name."""
        for service, _ in SERVED:
            for method in service.methods:
                call = getattr(servicers[service.full_name], method.name)
                self._methods[f"/{service.full_name}/{method.name}"] = _Method(call, _parser(method))

    def open(self) -> int:
        """Return 0: the engine process has no port."""
        return 0

    async def start(self) -> None:
        """Share the served generations, and all later ones, with fronts, and accept their calls."""
        for one in self._collections:
            await one.reloader.share_by(self._shares.collection(one.current, one.hidden_folders, one.audit))
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(self._connected, self._path)

    async def drain(self, grace: float) -> None:
        """Wait up to `grace` seconds for the calls that fronts wait for. The fronts accept no new ones."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self.calls_in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        if self._server is not None:
            self._server.close()
        for link in list(self._fronts):
            link.close()

    def close(self) -> None:
        """Stop the threads that read messages."""
        self._messages.close()

    def _connected(self) -> Frames:
        link = Frames(self._received, self._lost)
        self._fronts[link] = _Front(self._array_calls.inbox(link))
        return link

    def _lost(self, link: Frames) -> None:
        front = self._fronts.pop(link)
        if front.ends:
            log.warning("front %d ended with %d calls in flight", front.number, len(front.ends))
        for number in list(front.ends):
            self._end(front, number)
        self._shares.lost(link)

    def _received(self, link: Frames, kind: int, number: int, body: bytes) -> None:
        front = self._fronts[link]
        if kind == Kind.FIND:
            own = front.own.get(call_of(body))
            if own is not None:
                self._array_calls.find(own[0], number, body)
        elif kind == Kind.END:
            self._end(front, number)
        elif kind == Kind.ASK:
            self._begin_front_call(link, front, number, ArrayCall.decoded(body))
        elif kind == Kind.LET_IN or kind == Kind.RESERVE:
            if number in front.own:
                _reply(link, number, _reserved(front.own[number][1], body))
        elif kind == Kind.CALL:
            call, first = ForwardedCall.decoded(body)
            self._begin(link, front, number, Incoming(call, call.size, first))
        elif kind == Kind.PIECE:
            self._continue(front, number, body)
        elif kind == Kind.STREAM:
            self._begin_stream(link, front, number, body.decode())
        elif kind == Kind.STATE:
            front.state = FrontState.decoded(body)
        elif kind == Kind.HELLO:
            front.number = number
            self.statuses.greet(link)
            self._shares.greet(link)
        else:
            self._shares.received(link, kind, number)

    def _begin(self, link: Frames, front: _Front, number: int, call: Incoming[ForwardedCall]) -> None:
        try:
            reservation = self._accounts.open(call.head.peer)
        except Exception as error:
            _reply(link, number, ForwardedReply(refusal=refusal(error)))
            return
        self._calls += 1
        if not call.complete:
            front.arriving[number] = call
        task = asyncio.create_task(self._answer(link, front, number, call, reservation))

        def end() -> None:
            front.arriving.pop(number, None)
            task.cancel()
            reservation.release()
            self._calls -= 1

        front.ends[number] = end

    def _continue(self, front: _Front, number: int, piece: bytes) -> None:
        """Add a piece to a request, unless its caller no longer waits."""
        call = front.arriving.get(number)
        if call is not None:
            call.add(piece)
            if call.complete:
                del front.arriving[number]

    def _begin_front_call(self, link: Frames, front: _Front, number: int, asked: ArrayCall) -> None:
        """Count a call that a front answers itself."""
        call = self._array_calls.opened(front.inbox, asked)
        if call is None:
            link.send(Kind.ELSEWHERE, number)
            return
        try:
            reservation = self._accounts.open(asked.peer)
        except Exception as error:
            _reply(link, number, ForwardedReply(refusal=refusal(error)))
            return
        self._calls += 1

        def end() -> None:
            del front.own[number]
            self._array_calls.ended(call)
            reservation.release()
            self._calls -= 1

        front.own[number] = call, reservation
        front.ends[number] = end
        try:
            reservation.reserve(asked.size)
        except Exception as error:
            _reply(link, number, ForwardedReply(refusal=refusal(error)))
            self._end(front, number)

    def _begin_stream(self, link: Frames, front: _Front, number: int, peer: str) -> None:
        try:
            self._streams.reserve(peer)
        except Exception as error:
            _reply(link, number, ForwardedReply(refusal=refusal(error)))
            return
        front.ends[number] = lambda: self._streams.release(peer)
        _reply(link, number, ForwardedReply())

    def _end(self, front: _Front, number: int) -> None:
        end = front.ends.pop(number, None)
        if end is not None:
            end()
        if not self.calls_in_flight:
            self._idle.set()

    async def _answer(
        self,
        link: Frames,
        front: _Front,
        number: int,
        arriving: Incoming[ForwardedCall],
        reservation: Reservation,
    ) -> None:
        call = arriving.head
        known = CallRecord(
            call.method[1:],
            call.request_id,
            traceparent=call.traceparent,
            peer=call.peer,
            caller=call.caller,
            request_bytes=call.size,
        )
        record.resume(known)
        if call.collections:
            limit_to(Caller(call.caller, "read", call.collections))
        if call.hides_paths:
            visible.hide(self._roots)
        if call.in_pieces:
            reply_room.in_pieces()
        method = self._methods[call.method]
        try:
            reservation.reserve(call.size)
            await arriving.wait()
            request = await self._messages.read_pieces(call.method, method.parse, arriving.pieces)
            answer = await method.call(request, _Deadline(call.deadline))
            message = answer if isinstance(answer, bytes) else answer.SerializeToString()
            reservation.reserve(len(message))
            refused = None
        except Exception as error:
            front.arriving.pop(number, None)
            message, refused = b"", self._errors.refused(call.method, error)
        took = time.perf_counter() - known.started
        reply = ForwardedReply(len(message), refused, known.collection, known.stages, took)
        await link.send_message(Kind.REPLY, number, reply.encoded(), message)


class _Broadcast:
    """Health service that publishes statuses to all fronts, and all of them to each new front."""

    def __init__(self, links: Mapping[Frames, _Front]) -> None:
        self._links = links
        self._told: dict[str, int] = {}

    async def set(self, service: str, status: Status) -> None:
        """Set the status of a name."""
        self._told[service] = status
        for link in self._links:
            link.send(Kind.HEALTH, status, service.encode())

    async def enter_graceful_shutdown(self) -> None:
        """Do nothing: fronts publish this themselves, before the engine process stops."""

    def greet(self, link: Frames) -> None:
        """Send all statuses to a new front."""
        for service, status in self._told.items():
            link.send(Kind.HEALTH, status, service.encode())


def _reply(link: Frames, number: int, reply: ForwardedReply) -> None:
    link.send(Kind.REPLY, number, reply.encoded())


def _reserved(reservation: Reservation, body: bytes) -> ForwardedReply:
    """Reserve bytes for a call, and return the reply to its front."""
    try:
        reservation.reserve(int.from_bytes(body, "little"))
    except Exception as error:
        return ForwardedReply(refusal=refusal(error))
    return ForwardedReply()


def _parser(method: Any) -> Callable[[bytes], Any]:
    """Return the parser of a method's requests."""
    parse: Callable[[bytes], Any] = message_factory.GetMessageClass(method.input_type).FromString
    return parse
