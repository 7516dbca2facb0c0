"""Several interceptors as one, so that gRPC finds a call's handler in one step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import grpc

from lookalike_server.common.errors import UnknownMethodError
from lookalike_server.transport.interceptors import Continuation, Handler

# What calls of methods that there are not are counted as: their names are the callers'.
_UNKNOWN = "/unknown"


class _Details(NamedTuple):
    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...]


class CachedInterceptorChain(grpc.aio.ServerInterceptor):
    """Puts each method's handler together once, where gRPC would let every interceptor wrap it at every call.

    So the interceptors, the first one outermost, may look at nothing of a call
    but its method before they are called as handlers. Methods that there are not
    have one handler, which refuses, and pass through the interceptors, too.
    """

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._interceptors = tuple(interceptors)
        # As many as there are methods, and one.
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        handler = await self._through(continuation, handler_call_details)
        if handler is not None:
            self._handlers[method] = handler
            return handler
        return await self._unknown()

    async def _unknown(self) -> Handler | None:
        if _UNKNOWN not in self._handlers:
            details: Any = _Details(_UNKNOWN, ())
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
    # Of a stream, so that no message is read.
    refuse: Any = _refuse
    return grpc.stream_unary_rpc_method_handler(refuse)


async def _refuse(request: Any, context: Any) -> NoReturn:
    raise UnknownMethodError("This server has no such method; it may be older than its caller.")
