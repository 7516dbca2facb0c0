"""Request ids for the server's log, and W3C trace context of calls."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from lookalike._errors import InvalidArgumentError

HEADER = "x-request-id"

_ALLOWED = re.compile(r"[\x21-\x7e]{1,128}")
_PARENT_HEADER: Final = "traceparent"
_STATE_HEADER: Final = "tracestate"
_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_TRACE: ContextVar[tuple[str, str | None] | None] = ContextVar("lookalike_traceparent", default=None)
_GIVEN: ContextVar[str] = ContextVar("lookalike_request_id", default="")


@contextmanager
def request_id(name: str) -> Iterator[None]:
    """Set the request id of the calls within the block.

    The server writes the id to its log and returns it; the server generates an id for calls without one. The id
    applies to the block's thread or asyncio task.

    `name` has 1 to 128 visible ASCII characters without spaces; InvalidArgumentError otherwise.

    >>> with lookalike.request_id("order-17"):
    ...     near = client.search(key="dogs/01.jpg", k=3)
    """
    if not isinstance(name, str) or not _ALLOWED.fullmatch(name):
        raise InvalidArgumentError(f"request_id {name!r} must be 1 to 128 visible ASCII characters without spaces.")
    before = _GIVEN.set(name)
    try:
        yield
    finally:
        _GIVEN.reset(before)


@contextmanager
def traceparent(parent: str, state: str | None = None) -> Iterator[None]:
    """Set the W3C `traceparent` of the calls within the block, so that the server's spans join that trace.

    `state` is a `tracestate`. The context applies to the block's thread or asyncio task. Programs that use
    OpenTelemetry do not need this: their calls join the current span. InvalidArgumentError: a malformed value.

    >>> with lookalike.traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
    ...     near = client.search(key="dogs/01.jpg", k=3)
    """
    if not isinstance(parent, str) or not _PARENT.fullmatch(parent):
        raise InvalidArgumentError(f"traceparent {parent!r} must be like 00-<32 digits>-<16 digits>-<2 digits>, hex.")
    if state is not None and (not isinstance(state, str) or not _STATE.fullmatch(state)):
        raise InvalidArgumentError(f"tracestate {state!r} must be 1 to 512 printable ASCII characters.")
    before = _TRACE.set((parent, state))
    try:
        yield
    finally:
        _TRACE.reset(before)


def metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call: request id and trace context."""
    name = _GIVEN.get()
    return (((HEADER, name),) if name else ()) + _trace()


def _trace() -> tuple[tuple[str, str], ...]:
    given = _TRACE.get()
    if given is not None:
        parent, state = given
        return ((_PARENT_HEADER, parent), *(((_STATE_HEADER, state),) if state else ()))
    # A program without spans has not imported OpenTelemetry.
    if "opentelemetry.trace" not in sys.modules:
        return ()
    carrier: dict[str, str] = {}
    importlib.import_module("opentelemetry.propagate").inject(carrier)
    # Leave baggage out: it is for the program's own services.
    return tuple((name, carrier[name]) for name in (_PARENT_HEADER, _STATE_HEADER) if carrier.get(name))
