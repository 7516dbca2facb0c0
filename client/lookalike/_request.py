"""A name for the calls of one piece of work, by which the server's log can be searched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lookalike._errors import InvalidArgumentError

HEADER = "x-request-id"

_ALLOWED = re.compile(r"[\x21-\x7e]{1,128}")
_GIVEN: ContextVar[str] = ContextVar("lookalike_request_id", default="")


@contextmanager
def request_id(name: str) -> Iterator[None]:
    """Give the calls within the block an id, up to 128 visible ASCII characters without spaces.

    The server writes it into its log and sends it back; calls without one get
    one from the server. It holds for the block's thread or asyncio task.
    InvalidArgumentError: another name.

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


def metadata() -> tuple[tuple[str, str], ...]:
    """What a call sends along."""
    name = _GIVEN.get()
    return ((HEADER, name),) if name else ()
