"""Record of the current call, written while it is handled and read when it ends.

Services record the stages of a call and do not know who reads them. The interceptor passes the
finished record to metrics, log, and traces.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from lookalike_server.common.peers import host_of

REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

Step = Literal["handover", "queue", "decode", "embed", "read", "search", "filter", "lookup"]

_IDS = random.Random()  # noqa: S311  # nosec B311 - tells calls apart, guards nothing

# Caller-supplied ids appear in logs and in reply headers.
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Stage(NamedTuple):
    """A step of a call. `started` is in the time of `time.perf_counter`; both values are in seconds."""

    name: Step
    started: float
    seconds: float


@dataclass(slots=True)
class CallRecord:
    """One call. `code` is the name of its gRPC code; `cause` is the reason of an error, as in google.rpc.ErrorInfo.

    `caller` is the name of its token, "" without a known token. `peer` is as in peers.py.
    `collection` is what the call is about, "" if the server has only one. `request_bytes` is 0
    until the request has arrived. `answered_by` says which of several processes answered, "" if
    there is only one.
    """

    rpc: str
    request_id: str
    started: float = field(default_factory=time.perf_counter)
    stages: list[Stage] = field(default_factory=list)
    traceparent: str = ""
    tracestate: str = ""
    code: str = "OK"
    cause: str = ""
    seconds: float = 0.0
    peer: str = ""
    caller: str = ""
    collection: str = ""
    request_bytes: int = 0
    answered_by: Literal["", "front", "engine"] = ""

    @property
    def asker(self) -> str:
        """Name of the token, or else the address."""
        return self.caller or host_of(self.peer)


class Sink(Protocol):
    """Observer of every answered call. Runs in the event loop, so it must be quick."""

    def ended(self, call: CallRecord) -> None: ...


_CURRENT: ContextVar[CallRecord | None] = ContextVar("lookalike_call", default=None)


def begin(rpc: str, metadata: Iterable[tuple[str, str | bytes]], peer: str = "") -> CallRecord:
    """Start a record for the call of this task. The request id is the caller's, or a new one."""
    given = {key: value for key, value in metadata if key in _TAKEN and isinstance(value, str)}
    request_id = given.get(REQUEST_ID, "")
    if not _REQUEST_ID.fullmatch(request_id):
        # Secret bits from the operating system would cost 10 us.
        request_id = f"{_IDS.getrandbits(64):016x}"
    traces = given.get(TRACEPARENT, ""), given.get(TRACESTATE, "")
    call = CallRecord(rpc, request_id, traceparent=traces[0], tracestate=traces[1], peer=peer)
    _CURRENT.set(call)
    return call


def resume(call: CallRecord) -> None:
    """Make a record that of the current call."""
    _CURRENT.set(call)


_TAKEN = frozenset({REQUEST_ID, TRACEPARENT, TRACESTATE})


def current() -> CallRecord | None:
    """Return the record of the current call, or None outside of calls."""
    return _CURRENT.get()


def received(size: int) -> None:
    """Record the bytes of the current call's request."""
    call = _CURRENT.get()
    if call is not None:
        call.request_bytes = size


def request_bytes() -> int | None:
    """Return the bytes of the current call's request without serializing it; None outside of calls."""
    call = _CURRENT.get()
    return None if call is None else call.request_bytes


def stage(name: Step, started: float, seconds: float) -> float:
    """Record a step of the current call, if there is one. Return the end of the step."""
    call = _CURRENT.get()
    if call is not None:
        call.stages.append(Stage(name, started, seconds))
    return started + seconds
