"""Interceptor chain that caches the handler of each method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import grpc

from lookalike import pieces
from lookalike_server.common.errors import UnknownMethodError
from lookalike_server.transport.carried import CallDetails, carried
from lookalike_server.transport.interceptors import Continuation, Handler

# Returns the handler of a method that calls in pieces may carry, or None.
Carriable: TypeAlias = "Callable[[CallDetails], Handler | None]"

# Name under which calls of unknown methods are counted, because callers choose those names.
_UNKNOWN = "/unknown"


class CachedInterceptorChain(grpc.aio.ServerInterceptor):
    """Interceptor that wraps each method's handler once; gRPC would do it at every call.

    So the interceptors, outermost first, may look only at a call's method before they are called as
    handlers. All unknown methods share one handler, which rejects the call and passes through the
    interceptors too. A call in pieces gets the handler of the method that it carries, from
    `carriable`. To the interceptors, it is a call of that method.
    """

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor], carriable: Carriable) -> None:
        self._interceptors = tuple(interceptors)
        self._carriable = carriable
        # At most one for each method, and one for unknown methods.
        self._handlers: dict[str, Handler] = {}
        self._in_pieces: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        if method == pieces.METHOD:
            return await self._carrying(handler_call_details)
        handler = await self._through(continuation, handler_call_details)
        if handler is not None:
            self._handlers[method] = handler
            return handler
        return await self._unknown()

    async def _carrying(self, details: grpc.HandlerCallDetails) -> Handler | None:
        method = carried(details.invocation_metadata or ())
        known = self._in_pieces.get(method)
        if known is not None:
            return known
        inner: Any = CallDetails(method, in_pieces=True)
        handler = await self._through(self._carried, inner)
        if handler is None:
            return await self._unknown()
        self._in_pieces[method] = handler
        return handler

    async def _carried(self, details: Any) -> Handler | None:
        return self._carriable(details)

    async def _unknown(self) -> Handler | None:
        if _UNKNOWN not in self._handlers:
            details: Any = CallDetails(_UNKNOWN)
            handler = await self._through(_refusing, details)
            if handler is None:
                return None
            self._handlers[_UNKNOWN] = handler
        return self._handlers[_UNKNOWN]

    async def _through(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Handler | None:
        for interceptor in reversed(self._interceptors):
            continuation = functools.partial(interceptor.intercept_service, continuation)
        return await continuation(details)


async def _refusing(details: grpc.HandlerCallDetails) -> Handler:
    # Takes a stream, so that gRPC reads no message.
    refuse: Any = _refuse
    return grpc.stream_unary_rpc_method_handler(refuse)


async def _refuse(request: Any, context: Any) -> NoReturn:
    raise UnknownMethodError("This server has no such method; it may be older than the client.")
