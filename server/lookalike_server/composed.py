"""Several interceptors as one, so that gRPC finds a call's handler in one step."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import grpc

from lookalike_server.interceptors import Continuation, Handler


class Composed(grpc.aio.ServerInterceptor):
    """Puts each method's handler together once, where gRPC would let every interceptor wrap it at every call.

    So the interceptors, the first one outermost, may look at nothing of a call
    but its method before they are called as handlers.
    """

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._interceptors = tuple(interceptors)
        # As many as there are methods: what no service knows has no handler.
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        for interceptor in reversed(self._interceptors):
            continuation = functools.partial(interceptor.intercept_service, continuation)
        handler = await continuation(handler_call_details)
        if handler is not None:
            self._handlers[method] = handler
        return handler
