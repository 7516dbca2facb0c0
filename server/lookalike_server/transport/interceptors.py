"""Interceptors inside of observe/interceptor.py, outermost first: pieces, counting, errors.

Inside of these come access.py (authorization) and admission.py (limits).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, TypeAlias, cast

import grpc

from lookalike import pieces
from lookalike_indexer.errors import DeviceError
from lookalike_server.common import call_record as record
from lookalike_server.common import visible
from lookalike_server.common.errors import Refusal, RefusedError, refusal
from lookalike_server.common.log_once import LogOnce
from lookalike_server.transport.carried import is_in_pieces

log = logging.getLogger(__name__)

# gRPC's types know the handlers of the synchronous server only.
Call = Callable[[Any, Any], Awaitable[Any]]
# Replies in a stream: an async generator, or a coroutine that writes them itself.
Stream: TypeAlias = "Callable[[Any, Any], AsyncIterator[Any] | Awaitable[None]]"
Enter = Callable[[Any], AbstractAsyncContextManager[None]]
# Generic in their stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

# Key under which gRPC's rich error model puts a google.rpc.Status.
DETAILS_KEY = "grpc-status-details-bin"


async def abort(context: grpc.aio.ServicerContext[Any, Any], refused: Refusal) -> NoReturn:
    """End a call with an error. The trailing metadata of a reply, such as the request id, goes with it."""
    call = record.current()
    if call is not None:
        call.cause = refused.reason
    trailing = context.trailing_metadata() or ()
    await context.abort(refused.code, refused.message, (*trailing, (DETAILS_KEY, refused.details)))


class UnaryInterceptor(grpc.aio.ServerInterceptor):
    """Base class that wraps unary calls by `wrap`, and streams of replies (health, reflection) by `wrap_stream`.

    Behind admission.py, which reads a call's message itself, handlers take a stream of requests.
    """

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        parse, serialize = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            replies: Any = self.wrap_stream(handler_call_details.method, _stream_of(handler))
            if handler.request_streaming:
                return grpc.stream_stream_rpc_method_handler(replies, parse, serialize)
            return grpc.unary_stream_rpc_method_handler(replies, parse, serialize)
        if handler.request_streaming:
            streamed: Any = self.wrap(handler_call_details.method, cast("Call", handler.stream_unary))
            return grpc.stream_unary_rpc_method_handler(streamed, parse, serialize)
        wrapped = self.wrap(handler_call_details.method, cast("Call", handler.unary_unary))
        return grpc.unary_unary_rpc_method_handler(wrapped, parse, serialize)

    def wrap(self, method: str, call: Call) -> Call:
        raise NotImplementedError

    def wrap_stream(self, method: str, stream: Stream) -> Stream:
        """Return the stream unchanged; interceptors may override this."""
        return stream


def _stream_of(handler: Handler) -> Stream:
    return cast("Stream", handler.stream_stream if handler.request_streaming else handler.unary_stream)


def within(enter: Enter, stream: Stream) -> Stream:
    """Run a stream of replies inside `enter(context)`. Keeps its kind (generator or coroutine), which gRPC inspects."""
    if inspect.isasyncgenfunction(stream):

        async def yielding(request: Any, context: Any) -> AsyncIterator[Any]:
            async with enter(context):
                async for reply in stream(request, context):
                    yield reply

        return yielding
    writes = cast("Call", stream)

    async def writing(request: Any, context: Any) -> None:
        async with enter(context):
            await writes(request, context)

    return writing


class SendingPieces(grpc.aio.ServerInterceptor):
    """Interceptor that sends replies in pieces. sent.py observes whether other replies were sent."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or not is_in_pieces(handler_call_details) or not handler.request_streaming:
            return handler
        writing: Any = _writing_pieces(cast("Call", handler.stream_unary))
        return grpc.stream_stream_rpc_method_handler(writing, handler.request_deserializer, handler.response_serializer)


def _writing_pieces(call: Call) -> Call:
    async def writing(requests: Any, context: Any) -> None:
        for piece in pieces.reply_pieces(await call(requests, context)):
            await _write(context, piece)

    return writing


async def _write(context: Any, message: bytes) -> None:
    """Send a message. Raises CancelledError if the caller is gone."""
    try:
        await context.write(message)
    except Exception as error:
        # gRPC's exception has no public name; it means that the caller or its connection is gone.
        raise asyncio.CancelledError from error


class InFlight(UnaryInterceptor):
    """Interceptor that counts the calls in flight, so that a drain ends with the last of them."""

    def __init__(self) -> None:
        self.count = 0
        self._refusing = False
        self._refused = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        await self._idle.wait()

    async def wait_quiet(self, pause_s: float, most_s: float) -> None:
        """Wait until no call was rejected for `pause_s`, but at most `most_s`."""
        end = time.monotonic() + most_s
        seen = -1
        while seen != self._refused and time.monotonic() < end:
            seen = self._refused
            await asyncio.sleep(pause_s)

    def refuse(self) -> None:
        """Answer every further call with UNAVAILABLE, which callers may retry later or elsewhere."""
        self._refusing = True

    def wrap(self, method: str, call: Call) -> Call:
        async def counted(request: Any, context: Any) -> Any:
            if self._refusing:
                # Not counted as in flight: a caller that keeps retrying must not delay the shutdown.
                self._refused += 1
                refused = refusal(DeviceError("The server is stopping; retry later, or call another server."))
                await abort(context, refused)
            self.count += 1
            self._idle.clear()
            # Runs after the reply has been sent, not when the handler returns.
            context.add_done_callback(lambda _: self._done())
            return await call(request, context)

        return counted

    def _done(self) -> None:
        self.count -= 1
        if self.count == 0:
            self._idle.set()


class Errors(UnaryInterceptor):
    """Interceptor that answers errors by the table of errors.py, and logs those of the server.

    An unexpected error is logged with its traceback. A known one, such as a lost device, is logged
    when it is new, not for every call that fails with it.
    """

    def __init__(self) -> None:
        self._repeats: LogOnce[str] = LogOnce(_QUIET_S)

    def wrap(self, method: str, call: Call) -> Call:
        async def answered(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await call(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await self._answer(method, context, error)

        return answered

    def wrap_stream(self, method: str, stream: Stream) -> Stream:
        @asynccontextmanager
        async def answered(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
            try:
                yield
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await self._answer(method, context, error)

        return within(answered, stream)

    async def _answer(self, method: str, context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
        await abort(context, self.refused(method, error))

    def refused(self, method: str, error: Exception) -> Refusal:
        """Return what the caller is told about an error. Logs the error if it is the server's."""
        if isinstance(error, RefusedError):
            # The process that rejected the call has logged it.
            return error.refused
        refused = refusal(error, visible.text)
        if refused.code is grpc.StatusCode.INTERNAL:
            log.error("%s failed", method, exc_info=error)
        elif refused.code in _OURS:
            self._tell(method, error)
        return refused

    def _tell(self, method: str, error: Exception) -> None:
        quiet = self._repeats.quiet(str(error))
        if quiet is not None:
            # The same line names the cause, which callers are not told.
            cause = error.__cause__
            because = "" if cause is None else f" [{type(cause).__name__}: {' '.join(str(cause).split())}]"
            log.error("%s failed: %s%s%s", method, error, because, f" (and {quiet} other calls)" if quiet else "")


_OURS = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS}
_QUIET_S = 60.0
