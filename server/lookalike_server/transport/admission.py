"""Admission control: the limits of what a peer may have in flight. The innermost step before a service.

gRPC would read each message before the server could reject the call, and keep each reply until its
reader has taken it. So gRPC sees each method as one that takes a stream of requests. The server
reads one message from it once the call is admitted and has its turn (receiving.py). The bytes of
both messages count until the reply has been sent. The bytes of a request in pieces are reserved
before the first piece is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from lookalike_server.common import call_record as record
from lookalike_server.common import reply_room
from lookalike_server.common.errors import ArgumentError, LargeMessageError, OverloadedError
from lookalike_server.common.fair_share import beyond
from lookalike_server.common.limits import Limits
from lookalike_server.common.peers import host_of
from lookalike_server.transport.carried import announced, is_in_pieces
from lookalike_server.transport.interceptors import Call, Continuation, Handler
from lookalike_server.transport.messages import Messages
from lookalike_server.transport.receiving import Receiving
from lookalike_server.transport.streams import Streams, StreamSlots

# A guess: a peer's share frees up when its own calls end.
_RETRY_S = 0.1


# Reads the request of a call of a method, and counts its bytes.
_Read = Callable[[str, Callable[[bytes], Any], Any, "Reservation"], Awaitable[Any]]

# One connection may use this many of its address's calls, or three quarters of them if that is more.
_FEW_CALLS = 64


@dataclass
class Account:
    """Calls and bytes that a peer has in flight, and its calls by connection."""

    calls: int = 0
    bytes: int = 0
    connections: Counter[str] = field(default_factory=Counter)


class Accounts:
    """Accounts of all peers, and the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.peers: dict[str, Account] = {}
        self.total = Account()

    def open(self, connection: str) -> Reservation:
        """Open a call of a connection, named as gRPC names it. Raises OverloadedError if there are too many."""
        return Reservation(self, connection)


class Admission(grpc.aio.ServerInterceptor):
    """Interceptor that keeps each peer within the limits. Raises OverloadedError if a call exceeds them."""

    def __init__(self, limits: Limits, fronts: int = 1, slots: StreamSlots | None = None) -> None:
        """Create the interceptor of one of `fronts` front processes.

        `slots` are those of long-lived calls if the fronts share them.
        """
        self._limits = limits
        self._receiving = Receiving(limits, fronts)
        # Separate, so that requests in pieces do not take the places of messages.
        self._receiving_pieces = Receiving(limits, fronts)
        self._messages = Messages(limits.max_text_bytes)
        self._streams = Streams(limits, self._receiving, self._messages, slots)
        self._accounts = Accounts(limits)

    @property
    def accounts(self) -> dict[str, Account]:
        """Accounts of the peers with calls in flight."""
        return self._accounts.peers

    @property
    def arriving(self) -> int:
        """Number of messages and requests in pieces that are arriving."""
        return self._receiving.count + self._receiving_pieces.count

    @property
    def held_bytes(self) -> int:
        """Bytes of the messages of calls in flight."""
        return self._accounts.total.bytes

    @property
    def streams(self) -> int:
        """Number of long-lived calls: health watches and reflection."""
        return self._streams.count

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler.response_streaming:
            return self._streams.admitted(handler_call_details.method, handler)
        if handler.unary_unary is None:
            return handler
        call, parse, serialize = handler.unary_unary, handler.request_deserializer, handler.response_serializer
        if parse is None or serialize is None:
            raise TypeError(f"{handler_call_details.method} has no messages.")
        read = self._read_pieces if is_in_pieces(handler_call_details) else self._read
        return grpc.stream_unary_rpc_method_handler(
            self._admitted(handler_call_details.method, call, parse, serialize, read)
        )

    def close(self) -> None:
        """Stop the threads that read messages."""
        self._messages.close()

    def _admitted(
        self,
        method: str,
        call: Call,
        parse: Callable[[bytes], Any],
        serialize: Callable[[Any], bytes],
        read: _Read,
    ) -> Call:
        async def admitted(_: Any, context: Any) -> bytes | bytearray:
            reservation = self._accounts.open(context.peer())
            context.add_done_callback(lambda _: reservation.release())
            reply = await call(await read(method, parse, context, reservation), context)
            # A service with a large reply serializes it itself, off the event loop.
            sent = reply if isinstance(reply, (bytes, bytearray)) else serialize(reply)
            # gRPC would reject a large reply too, but only after the call has been counted as answered.
            self._require_room(len(sent))
            reservation.reserve(len(sent))
            return sent

        return admitted

    async def _read(self, method: str, parse: Callable[[bytes], Any], context: Any, reservation: Reservation) -> Any:
        data = await self._receiving.read(context)
        if data is None:
            raise ArgumentError("request", "The call ended before its message arrived.")
        reservation.reserve(len(data))
        record.received(len(data))
        return await self._messages.read(method, parse, data)

    async def _read_pieces(
        self, method: str, parse: Callable[[bytes], Any], context: Any, reservation: Reservation
    ) -> Any:
        reply_room.in_pieces()
        size = announced(context.invocation_metadata() or (), self._limits)
        try:
            reservation.reserve(size)
        except OverloadedError:
            self._receiving_pieces.press(context.peer())
            raise
        record.received(size)
        return await self._messages.read_pieces(method, parse, await self._receiving_pieces.read_pieces(context, size))

    def _require_room(self, size: int) -> None:
        """Raise LargeMessageError or PiecesNeededError if a reply of this size cannot be sent."""
        if size > self._limits.max_message_bytes:
            raise LargeMessageError(
                f"This reply has {size} bytes and the limit is {self._limits.max_message_bytes}, which is "
                "max_message_bytes; request less at a time."
            )
        reply_room.require_room(size, self._limits)


class Reservation:
    """Share of its peer's account that one call holds."""

    def __init__(self, accounts: Accounts, connection: str) -> None:
        self._connection = connection
        self._peer = host_of(connection)
        self._accounts = accounts.peers
        self._total = accounts.total
        self._limits = accounts.limits
        self._bytes = 0
        self._account = self._accounts.setdefault(self._peer, Account())
        self._account.calls += 1
        self._account.connections[connection] += 1
        self._open = True
        try:
            self._require_place()
        except OverloadedError:
            self.release()
            raise

    def _require_place(self) -> None:
        most = self._limits.max_peer_calls
        if self._account.calls > most:
            raise OverloadedError(
                f"This peer has {most} calls in flight, which is max_peer_calls; retry later.", _RETRY_S
            )
        # The rest is for other clients at the address, so that one connection cannot take everything.
        most = max(min(most, _FEW_CALLS), most - most // 4)
        if self._account.connections[self._connection] > most:
            raise OverloadedError(
                f"This connection has {most} calls in flight, which is its share of max_peer_calls; retry later.",
                _RETRY_S,
            )

    def reserve(self, size: int) -> None:
        """Count bytes of the call's messages.

        Raises OverloadedError if the peer, or all peers, would exceed a limit.
        """
        most = self._limits.max_peer_bytes
        others = self._account.bytes - self._bytes
        # A call that is the peer's only one may be as large as its messages.
        if beyond(others, self._bytes + size, most, self._account.calls - 1):
            raise OverloadedError(
                f"This call has {self._bytes + size} bytes and this peer's other calls in flight have {others}; "
                f"together they exceed max_peer_bytes, {self._limits.max_peer_bytes}. "
                "Retry later, or request less at a time.",
                retry_after=_RETRY_S,
            )
        self._require_room(size)
        self._total.bytes += size
        self._account.bytes += size
        self._bytes += size

    def _require_room(self, size: int) -> None:
        """Raise OverloadedError if the messages of all peers exceed half of `max_bytes`.

        That half is the share of calls in flight.
        """
        most = self._limits.max_bytes // 2
        others = self._total.bytes - self._account.bytes
        if beyond(others, self._account.bytes + size, most, len(self._accounts) - 1):
            raise OverloadedError(
                f"The calls in flight of {len(self._accounts)} peers have {self._total.bytes} bytes and the limit is "
                f"{most}, half of max_bytes. Retry later, or request less at a time.",
                retry_after=_RETRY_S,
            )

    def release(self) -> None:
        """End the call, if it has not ended."""
        if not self._open:
            return
        self._open = False
        self._account.calls -= 1
        self._account.connections[self._connection] -= 1
        if not self._account.connections[self._connection]:
            del self._account.connections[self._connection]
        self._account.bytes -= self._bytes
        self._total.bytes -= self._bytes
        if not self._account.calls:
            self._accounts.pop(self._peer, None)
