"""Frames on a Unix socket between two processes of one server: a kind, the number of a call, and bytes.

Frames of one turn of the event loop are sent together, so a busy process pays for one system call,
not for one per frame. A search thread sends its answers itself, because waking the event loop for
that would delay them. A long message is split into several frames, so that neither end copies more
than a piece of it in one step.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any, Generic, TypeVar, cast

# Bytes of the body, kind, number of the call.
_HEADER = struct.Struct("<IBQ")
# Largest piece of a message in one frame, and bytes buffered for the socket before a long message waits.
_PIECE = 1 << 20

Head = TypeVar("Head")


def as_bytes(number: int) -> bytes:
    """Encode a number for a frame's body."""
    return number.to_bytes(4, "little")


def numbers_of(body: bytes) -> list[int]:
    """Decode the numbers in a frame's body."""
    return [int.from_bytes(body[at : at + 4], "little") for at in range(0, len(body), 4)]


class Kind(IntEnum):
    """Kind of a frame. Comments give the direction."""

    # front -> engine process
    HELLO = 1
    CALL = 2
    # The call is over: its reply was sent, or its caller has left.
    END = 3
    STATE = 4
    # A long-lived call, such as a health watch, requests a place.
    STREAM = 5
    # engine process -> front
    REPLY = 6
    HEALTH = 7
    # both ways: more of the message of a CALL or REPLY
    PIECE = 8

    # Calls that a front answers itself; see array_messages.py. front -> engine process
    ASK = 32
    FIND = 33
    LET_IN = 34
    RESERVE = 35
    # engine process -> front
    FOUND = 36
    FAILED = 37
    ELSEWHERE = 38

    # Generations; see shares.py. engine process -> front
    SHARE = 39
    SERVE = 40
    DROP = 41
    GREETED = 42
    # front -> engine process
    ADOPTED = 43
    DECLINED = 44
    SERVING = 45
    RELEASED = 46


class Frames(asyncio.Protocol):
    """One end of the socket. `received` gets the kind, number, and body of each frame; `lost` is called at the end.

    Unsent data is bounded by the limits of messages in flight, not here.
    """

    def __init__(self, received: Callable[[Frames, int, int, bytes], None], lost: Callable[[Frames], None]) -> None:
        self._received, self._lost = received, lost
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        # Parts of an incomplete frame, and the bytes needed to complete it.
        self._parts: list[bytes] = []
        self._have = self._need = 0
        self._out: list[Any] = []
        self._writable = asyncio.Event()
        self._writable.set()
        # Held while bytes are written. The socket is the transport's, for other threads.
        self._writing = threading.Lock()
        self._socket: socket.socket | None = None
        # Bytes of other threads that the event loop must write first, and whether the transport has unsent bytes.
        self._first: list[Any] = []
        self._buffered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_PIECE)
        self._socket = transport.get_extra_info("socket").dup()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        with self._writing:
            if self._socket is not None:
                self._socket.close()
            self._socket = None
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

    async def send_message(
        self, kind: Kind, number: int, head: bytes, message: bytes, unwanted: Callable[[], bool] = lambda: False
    ) -> None:
        """Send a head, which contains the message's size, and the message, in further frames if it is long.

        Stops early when the message is `unwanted`.
        """
        if len(message) <= _PIECE:
            self.send(kind, number, head, message)
            return
        self.send(kind, number, head)
        view = memoryview(message)
        for start in range(0, len(view), _PIECE):
            self.send(Kind.PIECE, number, view[start : start + _PIECE])
            self._flush()
            # Yield to other tasks, even if the other end reads everything at once.
            await asyncio.sleep(0)
            await self._writable.wait()
            if unwanted():
                return

    def send(self, kind: Kind, number: int, *body: bytes | memoryview) -> None:
        """Send a frame, whose body may be in pieces. Does nothing if the other end has gone."""
        if self._transport is None:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_HEADER.pack(sum(map(len, body)), kind, number))
        self._out.extend(body)

    def send_now(self, kind: Kind, bodies: Iterable[tuple[int, Sequence[bytes]]]) -> None:
        """Send frames, each with a number and the pieces of its body, without waiting for the event loop. Thread-safe.

        If the socket is full, the event loop sends the rest.
        """
        out: list[bytes] = []
        for number, body in bodies:
            out.append(_HEADER.pack(sum(map(len, body)), kind, number))
            out.extend(body)
        data = b"".join(out)
        with self._writing:
            if self._socket is None:
                return
            sent = 0
            if not (self._first or self._buffered):
                # If the other end has gone, the event loop notices.
                with suppress(OSError):
                    sent = self._socket.send(data)
            if sent == len(data):
                return
            self._first.append(memoryview(data)[sent:])
        # The event loop is closed if the server has stopped.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._flush)

    def close(self) -> None:
        """Close the connection after sending what is buffered."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        with self._writing:
            out = [*self._first, *self._out]
            self._first, self._out = [], []
            if self._transport is not None:
                if out:
                    self._transport.writelines(out)
                self._buffered = self._transport.get_write_buffer_size() > 0


class Incoming(Generic[Head]):
    """A message of `size` bytes that follows its head: `complete` when all of it is in `pieces`.

    One task may wait for it.
    """

    def __init__(self, head: Head, size: int, first: bytes) -> None:
        self.head = head
        self.pieces: list[bytes] = []
        self._left = size
        self._waits: asyncio.Future[None] | None = None
        if first:
            self.add(first)

    def add(self, piece: bytes) -> None:
        """Add the next piece."""
        self.pieces.append(piece)
        self._left -= len(piece)
        if self.complete and self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    async def wait(self) -> None:
        """Wait until the message is complete."""
        if not self.complete:
            self._waits = asyncio.get_running_loop().create_future()
            await self._waits

    @property
    def complete(self) -> bool:
        return self._left <= 0
