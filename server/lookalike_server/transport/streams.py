"""Long-lived calls (health watches and reflection): limits for each peer and in total, and fair reading."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, cast

import grpc

from lookalike_server.common.errors import ArgumentError, OverloadedError
from lookalike_server.common.fair_share import beyond
from lookalike_server.common.limits import Limits
from lookalike_server.common.peers import host_of
from lookalike_server.transport.interceptors import Call, Handler, Stream
from lookalike_server.transport.messages import Messages
from lookalike_server.transport.receiving import Receiving

Parse = Callable[[bytes], Any]

# Most long-lived calls last until their callers leave.
_RETRY_S = 5.0


class StreamSlots(Protocol):
    """Source of slots for long-lived calls."""

    def slot(self, peer: str) -> AbstractAsyncContextManager[None]:
        """Reserve a slot of a peer while the block runs. Raises OverloadedError if there is none."""
        ...


class Streams:
    """Limits of long-lived calls. A call beyond them gets OverloadedError."""

    def __init__(
        self, limits: Limits, receiving: Receiving, messages: Messages, slots: StreamSlots | None = None
    ) -> None:
        self._receiving = receiving
        self._messages = messages
        self._slots = slots or LocalStreamSlots(limits)
        self._own = 0

    @property
    def count(self) -> int:
        """Number of long-lived calls now."""
        return self._own

    def admitted(self, method: str, handler: Handler) -> Handler:
        """Return a handler that reads its messages itself: gRPC would buffer any number of them."""
        parse = handler.request_deserializer
        replies: Any
        if parse is None:
            raise TypeError(f"{method} has no messages.")
        if not handler.request_streaming:
            replies = self._watched(method, cast("Call", handler.unary_stream), parse)
        elif inspect.isasyncgenfunction(handler.stream_stream):
            replies = self._conversing(method, cast("Stream", handler.stream_stream), parse)
        else:
            raise TypeError(f"{method} has to answer a stream of requests by a generator.")
        return grpc.stream_stream_rpc_method_handler(replies, None, handler.response_serializer)

    def _watched(self, method: str, call: Call, parse: Parse) -> Call:
        async def admitted(_: Any, context: Any) -> None:
            async with self._slot(context):
                async for request in self._requests(method, parse, context):
                    await call(request, context)
                    return
                raise ArgumentError("request", "The call ended before its message arrived.")

        return admitted

    def _conversing(self, method: str, call: Stream, parse: Parse) -> Stream:
        async def admitted(_: Any, context: Any) -> AsyncIterator[Any]:
            async with self._slot(context):
                replies = cast("AsyncIterator[Any]", call(self._requests(method, parse, context), context))
                async for reply in replies:
                    yield reply

        return admitted

    async def _requests(self, method: str, parse: Parse, context: Any) -> AsyncIterator[Any]:
        while (data := await self._receiving.read(context)) is not None:
            yield await self._messages.read(method, parse, data)

    @asynccontextmanager
    async def _slot(self, context: Any) -> AsyncIterator[None]:
        async with self._slots.slot(host_of(context.peer())):
            self._own += 1
            try:
                yield
            finally:
                self._own -= 1


class LocalStreamSlots:
    """Slots of one process. Raises OverloadedError if all of them, or those of the peer, are taken."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Number of reserved slots."""
        return self._counts.total()

    @asynccontextmanager
    async def slot(self, peer: str) -> AsyncIterator[None]:
        """Reserve a slot of a peer while the block runs."""
        self.reserve(peer)
        try:
            yield
        finally:
            self.release(peer)

    def reserve(self, peer: str) -> None:
        """Reserve a slot of a peer. Raises OverloadedError if there is none."""
        limits = self._limits
        mine = self._counts[peer] + 1
        if mine > limits.max_peer_streams:
            raise OverloadedError(
                f"This peer has {limits.max_peer_streams} long-lived calls open, which is max_peer_streams; end one.",
                _RETRY_S,
            )
        others = self.count - self._counts[peer]
        if beyond(others, mine, limits.max_streams, len(self._counts.keys() - {peer})):
            raise OverloadedError(
                f"{self.count} long-lived calls are open and the limit is {limits.max_streams}, which is max_streams; "
                "retry later.",
                _RETRY_S,
            )
        self._counts[peer] = mine

    def release(self, peer: str) -> None:
        """Release a slot of a peer."""
        self._counts[peer] -= 1
        if not self._counts[peer]:
            del self._counts[peer]
