"""Frames on a Unix socket between two processes of one server: a kind, the number of a call, and bytes.

Frames of one turn of the event loop are sent together, so a busy process pays
for one system call and not for one a frame.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import cast

# Bytes of the body, kind, number of the call.
_HEADER = struct.Struct("<IBQ")


class Kind(IntEnum):
    """What a frame is. Those with an arrow go one way only."""

    # front -> engine process
    HELLO = 1
    CALL = 2
    # Nobody waits for a call any more: its reply was sent, or its caller has left.
    END = 3
    STATE = 4
    # A call that lasts, such as a health watch, asks for a place.
    STREAM = 5
    # engine process -> front
    REPLY = 6
    HEALTH = 7


class Frames(asyncio.Protocol):
    """One end of the socket. `received` is given the kind, number and body of each frame, `lost` hears of the end.

    What is sent is bounded by the limits on messages under way, not here.
    """

    def __init__(self, received: Callable[[Frames, int, int, bytes], None], lost: Callable[[Frames], None]) -> None:
        self._received, self._lost = received, lost
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        # Of a frame that has not arrived completely, and the bytes that it needs at least.
        self._parts: list[bytes] = []
        self._have = self._need = 0
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=1 << 40)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at, end = 0, len(data)
        need = _HEADER.size
        while end - at >= _HEADER.size:
            size, kind, number = _HEADER.unpack_from(data, at)
            start = at + _HEADER.size
            if start + size > end:
                need = _HEADER.size + size
                break
            at = start + size
            self._received(self, kind, number, data[start:at])
        if at < end:
            self._parts.append(data[at:])
            self._have, self._need = end - at, need

    def send(self, kind: Kind, number: int, *body: bytes) -> None:
        """Send a frame, whose body may be in pieces. Nothing happens when the other end has gone."""
        if self._transport is None:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_HEADER.pack(sum(map(len, body)), kind, number))
        self._out.extend(body)

    def close(self) -> None:
        """End the connection, after what was sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.writelines(out)
