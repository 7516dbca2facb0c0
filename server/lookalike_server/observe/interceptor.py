"""Outermost interceptor: a request id for every call, and its record for the sinks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

from lookalike_server.common import call_record as record
from lookalike_server.common.call_record import REQUEST_ID, CallRecord, Sink
from lookalike_server.transport.interceptors import Call, Stream, UnaryInterceptor, within
from lookalike_server.transport.sent import when_sent

log = logging.getLogger(__name__)

_NAMES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_NAMES.update({code: code.name for code in grpc.StatusCode})


class Observed(UnaryInterceptor):
    """Interceptor that gives each call its id, which is sent with the reply, and passes its record to the sinks."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def wrap(self, method: str, call: Call) -> Call:
        rpc = method.removeprefix("/")

        async def observed(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            known = _begun(rpc, context)
            try:
                reply = await call(request, context)
            except BaseException as error:
                self._ended(known, _code(error, known, context))
                raise
            # A call whose caller has left in the meantime was not answered.
            when_sent(context, lambda sent: self._sent(known, context, sent))
            return reply

        return observed

    def wrap_stream(self, method: str, stream: Stream) -> Stream:
        rpc = method.removeprefix("/")

        @asynccontextmanager
        async def observed(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
            with self._recorded(rpc, context):
                yield

        return within(observed, stream)

    @contextmanager
    def _recorded(self, rpc: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[None]:
        known = _begun(rpc, context)
        try:
            yield
        except BaseException as error:
            self._ended(known, _code(error, known, context))
            raise
        self._ended(known, "OK")

    def _sent(self, call: CallRecord, context: grpc.aio.ServicerContext[Any, Any], sent: bool) -> None:
        """End a call whose handler has returned. Restores its record, so that log lines show its id."""
        record.resume(call)
        self._ended(call, "OK" if sent else _abandoned_code(call, context))

    def _ended(self, call: CallRecord, code: str) -> None:
        call.code, call.seconds = code, time.perf_counter() - call.started
        self._record_call(call)

    def _record_call(self, call: CallRecord) -> None:
        for sink in self._sinks:
            try:
                sink.ended(call)
            except Exception:
                # An observer must not make a call fail.
                log.exception("%s could not record a call", type(sink).__name__)


def _begun(rpc: str, context: grpc.aio.ServicerContext[Any, Any]) -> CallRecord:
    known = record.begin(rpc, context.invocation_metadata() or (), context.peer())
    context.set_trailing_metadata(((REQUEST_ID, known.request_id),))
    return known


def _code(error: BaseException, call: CallRecord, context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the code of a call that ended with an error."""
    if isinstance(error, asyncio.CancelledError):
        return _abandoned_code(call, context)
    return _NAMES.get(context.code(), "UNKNOWN") if isinstance(error, grpc.aio.AbortError) else "UNKNOWN"


def _abandoned_code(call: CallRecord, context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the code of a call whose caller has left, or waited until the deadline."""
    return "DEADLINE_EXCEEDED" if _expired(call, context.time_remaining()) else "CANCELLED"


def _expired(call: CallRecord, left: float | None) -> bool:
    """Return whether a canceled call ended by its deadline, of which `left` seconds remain here.

    The client cancels the call by its own clock, so the cancellation may arrive a little before the
    deadline.
    """
    if left is None:
        return False
    allowed = time.perf_counter() - call.started + left
    return left <= _EARLY_S + _EARLY * allowed


_EARLY_S = 0.02
_EARLY = 0.05
