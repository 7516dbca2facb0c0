"""The outermost interceptor: a request id for every call, and a record of it for those who want one."""

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

log = logging.getLogger(__name__)

_NAMES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_NAMES.update({code: code.name for code in grpc.StatusCode})


class Observed(UnaryInterceptor):
    """Gives each call its id, which goes back with the reply, and tells the sinks when it has ended."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def wrap(self, method: str, call: Call) -> Call:
        rpc = method.removeprefix("/")

        async def observed(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with self._recorded(rpc, context):
                return await call(request, context)

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
        known = record.begin(rpc, context.invocation_metadata() or (), context.peer())
        context.set_trailing_metadata(((REQUEST_ID, known.request_id),))
        try:
            yield
        except asyncio.CancelledError:
            known.code = "DEADLINE_EXCEEDED" if _expired(known, context.time_remaining()) else "CANCELLED"
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

    def _tell(self, call: CallRecord) -> None:
        for sink in self._sinks:
            try:
                sink.ended(call)
            except Exception:
                # What watches a call must not be able to fail it.
                log.exception("%s could not take note of a call", type(sink).__name__)


def _expired(call: CallRecord, left: float | None) -> bool:
    """Whether a cancelled call ended by its deadline, of which `left` seconds remain here.

    The caller's end looks at its own clock and cancels the call then, which may
    arrive here a little before the deadline does.
    """
    if left is None:
        return False
    allowed = time.perf_counter() - call.started + left
    return left <= _EARLY_S + _EARLY * allowed


_EARLY_S = 0.02
_EARLY = 0.05
