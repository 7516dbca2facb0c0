"""What every unary call passes through after observe/interceptor.py, outermost first: counting, then errors.

Inside of these: access.py, who may call, then admission.py, how much at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc

from lookalike_indexer.errors import DeviceError
from lookalike_server import visible
from lookalike_server.errors import Refusal, refusal
from lookalike_server.observe import record

log = logging.getLogger(__name__)

# gRPC's types know the handlers of the synchronous server only.
Call = Callable[[Any, Any], Awaitable[Any]]
# Generic in their stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

# Where gRPC's rich error model looks for a google.rpc.Status.
DETAILS_KEY = "grpc-status-details-bin"


async def abort(context: grpc.aio.ServicerContext[Any, Any], refused: Refusal) -> NoReturn:
    """End a call with an error. What was to go back with the reply, such as the request's id, goes with the error."""
    call = record.current()
    if call is not None:
        call.cause = refused.reason
    trailing = context.trailing_metadata() or ()
    await context.abort(refused.code, refused.message, (*trailing, (DETAILS_KEY, refused.details)))


class UnaryInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each unary call; replies in streams (health watching, reflection) pass untouched.

    admission.py reads a call's message itself, and so gives gRPC a handler of
    a stream of requests.
    """

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler.response_streaming:
            return handler
        parse, serialise = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            streamed: Any = self.wrap(handler_call_details.method, cast("Call", handler.stream_unary))
            return grpc.stream_unary_rpc_method_handler(streamed, parse, serialise)
        wrapped = self.wrap(handler_call_details.method, cast("Call", handler.unary_unary))
        return grpc.unary_unary_rpc_method_handler(wrapped, parse, serialise)

    def wrap(self, method: str, call: Call) -> Call:
        raise NotImplementedError


class InFlight(UnaryInterceptor):
    """Knows how many calls are being answered, so that a drain ends with the last of them."""

    def __init__(self) -> None:
        self.count = 0
        self._refusing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        await self._idle.wait()

    def refuse(self) -> None:
        """Answer every further call with UNAVAILABLE, which callers may send again, elsewhere or later."""
        self._refusing = True

    def wrap(self, method: str, call: Call) -> Call:
        async def counted(request: Any, context: Any) -> Any:
            if self._refusing:
                # Not counted: who goes on asking does not hold up the end.
                refused = refusal(DeviceError("The server is stopping; ask again later, or another one."))
                await abort(context, refused)
            self.count += 1
            self._idle.clear()
            # After the reply has been sent, not when the handler returns.
            context.add_done_callback(lambda _: self._done())
            return await call(request, context)

        return counted

    def _done(self) -> None:
        self.count -= 1
        if self.count == 0:
            self._idle.set()


class Errors(UnaryInterceptor):
    """Answers every error by the table of errors.py; logs those that are the server's own."""

    def wrap(self, method: str, call: Call) -> Call:
        async def answered(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await call(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                refused = refusal(error, visible.text)
                if refused.code in _OURS:
                    log.exception("%s failed", method)
                await abort(context, refused)

        return answered


_OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}
