"""How much a peer may have under way: the innermost step before a service, which reads the call's message.

gRPC would read each message before anybody could refuse it, and keep each
reply for as long as its reader takes. So the services' methods are given to it
as taking a stream of requests, from which one is read when the call has been
let in; and the bytes of both messages count until the reply has been sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from lookalike_indexer.errors import UsageError
from lookalike_server.errors import ArgumentError, ExpiredError, OverloadedError
from lookalike_server.interceptors import Call, Continuation, Handler
from lookalike_server.limits import Limits
from lookalike_server.messages import Messages
from lookalike_server.patience import Patience
from lookalike_server.peers import host_of

# When to come back is anybody's guess: a peer's share frees up with its own calls.
_RETRY_S = 0.1


@dataclass
class Account:
    """What a peer has under way."""

    calls: int = 0
    bytes: int = 0


class Admission(grpc.aio.ServerInterceptor):
    """Keeps the account of each peer within the limits. OverloadedError: the call goes beyond."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._patience = Patience(limits.max_receive_ms / 1000)
        self._messages = Messages(limits.max_text_bytes)
        self._accounts: dict[str, Account] = {}

    @property
    def accounts(self) -> dict[str, Account]:
        """The peers with calls under way."""
        return self._accounts

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        call, parse, serialise = handler.unary_unary, handler.request_deserializer, handler.response_serializer
        if parse is None or serialise is None:
            raise TypeError(f"{handler_call_details.method} has no messages.")
        return grpc.stream_unary_rpc_method_handler(self._admitted(handler_call_details.method, call, parse, serialise))

    def close(self) -> None:
        """End the threads that read messages."""
        self._messages.close()

    def _admitted(
        self, method: str, call: Call, parse: Callable[[bytes], Any], serialise: Callable[[Any], bytes]
    ) -> Call:
        async def admitted(_: Any, context: Any) -> bytes:
            share = _Share(self._accounts, host_of(context.peer()), self._limits)
            context.add_done_callback(lambda _: share.give_back())
            data = await self._read(context)
            share.take(len(data))
            request = await self._messages.read(method, parse, data)
            del data
            reply = await call(request, context)
            # A service that has a large reply makes the bytes itself, off the event loop.
            sent = reply if isinstance(reply, bytes) else serialise(reply)
            if len(sent) > self._limits.max_message_bytes:
                # gRPC would end the call, too, but after the call has been counted as answered.
                raise UsageError(
                    f"This reply has {len(sent)} bytes and it may have {self._limits.max_message_bytes}, which is "
                    "max_message_bytes; ask for less at a time."
                )
            share.take(len(sent))
            return sent

        return admitted

    async def _read(self, context: Any) -> bytes:
        try:
            data = await self._patience.wait_for(context.read())
        except TimeoutError as error:
            limit = self._patience.seconds
            raise ExpiredError(f"The call's message did not arrive within {limit:g} s; send less at a time.") from error
        if not isinstance(data, bytes):
            raise ArgumentError("request", "The call ended before its message had arrived.")
        return data


class _Share:
    """What one call takes of its peer's account."""

    def __init__(self, accounts: dict[str, Account], peer: str, limits: Limits) -> None:
        self._peer = peer
        self._accounts = accounts
        self._limits = limits
        self._bytes = 0
        self._account = accounts.setdefault(self._peer, Account())
        self._account.calls += 1
        self._open = True
        if self._account.calls > limits.max_peer_calls:
            self.give_back()
            raise OverloadedError(
                f"This peer has {limits.max_peer_calls} calls under way, which is max_peer_calls; ask again later.",
                retry_after=_RETRY_S,
            )

    def take(self, size: int) -> None:
        others = self._account.bytes - self._bytes
        # A call that is alone may be as large as its messages.
        if others and self._account.bytes + size > self._limits.max_peer_bytes:
            raise OverloadedError(
                f"This call's {self._bytes + size} bytes and the {others} of this peer's others that are under way "
                f"are beyond max_peer_bytes, {self._limits.max_peer_bytes}; ask again later, or for less at a time.",
                retry_after=_RETRY_S,
            )
        self._account.bytes += size
        self._bytes += size

    def give_back(self) -> None:
        if not self._open:
            return
        self._open = False
        self._account.calls -= 1
        self._account.bytes -= self._bytes
        if not self._account.calls:
            self._accounts.pop(self._peer, None)
