"""What is known of the call that is being answered: one record, written along its way and read at its end.

Services say which stages a call went through and know nothing of who listens;
the interceptor hands the finished record to measurements, log and traces.
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

# What a caller names goes into logs and back into headers.
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Stage(NamedTuple):
    """A step of a call: `started` in the time of `time.perf_counter`, both in seconds."""

    name: Step
    started: float
    seconds: float


@dataclass(slots=True)
class CallRecord:
    """One call. `code` is the name of its gRPC code, `cause` why it was refused, as in google.rpc.ErrorInfo.

    `caller` is the name of its token, "" where it showed none that is known; `peer` is as in peers.py. `collection` is
    what the call is about, "" where the server has one collection alone. `request_bytes` are those of the request, 0
    until it is there. `answered_by` tells which process of several has answered, "" where there is one.
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
        """Who calls: the name of the token, or else the address."""
        return self.caller or host_of(self.peer)


class Sink(Protocol):
    """Somebody who wants to know of every call that has been answered. Runs in the event loop: it must be quick."""

    def ended(self, call: CallRecord) -> None: ...


_CURRENT: ContextVar[CallRecord | None] = ContextVar("lookalike_call", default=None)


def begin(rpc: str, metadata: Iterable[tuple[str, str | bytes]], peer: str = "") -> CallRecord:
    """A record for the call that this task answers; the request's id is the caller's, or a new one."""
    given = {key: value for key, value in metadata if key in _TAKEN and isinstance(value, str)}
    request_id = given.get(REQUEST_ID, "")
    if not _REQUEST_ID.fullmatch(request_id):
        # Asking the system for secret bits instead costs 10 us.
        request_id = f"{_IDS.getrandbits(64):016x}"
    traces = given.get(TRACEPARENT, ""), given.get(TRACESTATE, "")
    call = CallRecord(rpc, request_id, traceparent=traces[0], tracestate=traces[1], peer=peer)
    _CURRENT.set(call)
    return call


def resume(call: CallRecord) -> None:
    """Let a record be that of the call that this task answers."""
    _CURRENT.set(call)


_TAKEN = frozenset({REQUEST_ID, TRACEPARENT, TRACESTATE})


def current() -> CallRecord | None:
    """The record of the call that is being answered here, None outside of calls."""
    return _CURRENT.get()


def received(size: int) -> None:
    """Note the bytes of the current call's request."""
    call = _CURRENT.get()
    if call is not None:
        call.request_bytes = size


def request_bytes() -> int | None:
    """The bytes of the current call's request, which copying it would tell as well; None where nobody knows."""
    call = _CURRENT.get()
    return None if call is None else call.request_bytes


def stage(name: Step, started: float, seconds: float) -> float:
    """Note a step of the current call, if there is one; returns when the step ended."""
    call = _CURRENT.get()
    if call is not None:
        call.stages.append(Stage(name, started, seconds))
    return started + seconds
