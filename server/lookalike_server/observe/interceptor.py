"""The outermost interceptor: a request id for every call, and a record of it for those who want one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import grpc

from lookalike_server.interceptors import Call, UnaryInterceptor
from lookalike_server.observe import record
from lookalike_server.observe.record import REQUEST_ID, CallRecord, Sink

log = logging.getLogger(__name__)

_NAMES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_NAMES.update({code: code.name for code in grpc.StatusCode})


class Observed(UnaryInterceptor):
    """Gives each unary call its id, which goes back with the reply, and tells the sinks when it has ended."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def wrap(self, method: str, call: Call) -> Call:
        rpc = method.removeprefix("/")

        async def observed(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            known = record.begin(rpc, context.invocation_metadata() or (), context.peer())
            context.set_trailing_metadata(((REQUEST_ID, known.request_id),))
            try:
                return await call(request, context)
            except asyncio.CancelledError:
                known.code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                known.code = _NAMES.get(context.code(), "UNKNOWN")
                raise
            except BaseException:
                known.code = "UNKNOWN"
                raise
            finally:
                known.seconds = time.perf_counter() - known.started
                self._tell(known)

        return observed

    def _tell(self, call: CallRecord) -> None:
        for sink in self._sinks:
            try:
                sink.ended(call)
            except Exception:
                # What watches a call must not be able to fail it.
                log.exception("%s could not take note of a call", type(sink).__name__)
