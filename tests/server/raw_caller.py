"""HTTP/2 caller that behaves as gRPC's own library does not."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS = 1, 4
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 3, 4


class RawCaller:
    """A caller on one HTTP/2 connection that behaves as gRPC's own library does not.

    `window` is the number of bytes of each reply that the server may send without a window
    update, `source` the address that it calls from: another address is another peer.
    """

    def __init__(self, address: str, window: int = 65_535, source: str = "127.0.0.1") -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30, source_address=(source, 0))
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)))
        self._stream = -1

    def call(self, method: str, message: bytes, sent: int | None = None, timeout: str = "") -> None:
        """Begin a call and send `size` bytes of its message; None sends all of them and the end.

        `timeout` is the call's deadline in gRPC's format, such as "500m" for milliseconds.
        """
        self._stream += 2
        self.socket.sendall(_opening(method, self._stream, timeout))
        body = b"\x00" + struct.pack(">I", len(message)) + message
        cut = body if sent is None else body[:sent]
        for start in range(0, len(cut), 16_384):
            piece = cut[start : start + 16_384]
            last = sent is None and start + len(piece) == len(body)
            self.socket.sendall(_frame(_DATA, _END_STREAM if last else 0, self._stream, piece))

    def close(self) -> None:
        self.socket.close()


def _opening(method: str, stream: int, timeout: str = "") -> bytes:
    """Return the headers that begin a call."""
    headers = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost",
               "te": "trailers", "content-type": "application/grpc"}  # fmt: skip
    if timeout:
        headers["grpc-timeout"] = timeout
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
    return _frame(_HEADERS, _END_HEADERS, stream, block)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _text(text: str) -> bytes:
    """Encode an HPACK literal without table and Huffman code, shorter than 127 bytes."""
    data = text.encode()
    return bytes([len(data)]) + data


GREETING = _PREFACE + _frame(_SETTINGS, 0, 0, b"")


@dataclass
class _Stream:
    left: int
    window: int


class Flood:
    """Begins calls whose messages never end: each sends all but its last byte, as far as the server's windows allow."""

    def __init__(self, address: str, method: str, calls: int, size: int, source: str = "127.0.0.1") -> None:
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=30, source_address=(source, 0))
        self._socket.sendall(GREETING)
        self._size, self._method = size, method
        # Calls that wait until the server allows more streams.
        self.unopened = calls
        self._streams: dict[int, _Stream] = {}
        # No stream before the server has announced its limit.
        self._window, self._initial, self._most = 65_535, 65_535, 0
        self._next = 1
        self._received = b""
        # Streams that the server has ended.
        self.ended = 0
        self.sent = 0

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Send for a number of seconds, following the rules of HTTP/2."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            self._open()
            moved = self._send()
            ready, _, _ = select.select([self._socket], [], [], 0 if moved else 0.02)
            if ready and not self._take():
                return

    def close(self) -> None:
        self._socket.close()

    def _open(self) -> None:
        while self.unopened and len(self._streams) < self._most:
            self._socket.sendall(_opening(self._method, self._next))
            self._streams[self._next] = _Stream(self._size + 5, self._initial)
            self._next += 2
            self.unopened -= 1

    def _send(self) -> bool:
        moved = False
        for number, stream in self._streams.items():
            # The last byte is never sent.
            length = min(stream.left - 1, stream.window, self._window, 16_384)
            if length <= 0:
                continue
            piece = bytes(length)
            if stream.left == self._size + 5:
                piece = (b"\x00" + struct.pack(">I", self._size))[:length] + piece[5:]
            self._socket.sendall(_frame(_DATA, 0, number, piece))
            stream.left -= length
            stream.window -= length
            self._window -= length
            self.sent += length
            moved = True
        return moved

    def _take(self) -> bool:
        """Read available bytes; return False if the server has closed the connection."""
        data = self._socket.recv(65_536)
        self._received += data
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + length:
                break
            kind, flags = self._received[3], self._received[4]
            number = int.from_bytes(self._received[5:9], "big")
            payload = self._received[9 : 9 + length]
            self._received = self._received[9 + length :]
            self._heard(kind, flags, number, payload)
        return bool(data)

    def _heard(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags:
            self._settle(payload)
            self._socket.sendall(_frame(_SETTINGS, 1, 0, b""))
        elif kind == _PING and not flags:
            self._socket.sendall(_frame(_PING, 1, 0, payload))
        elif kind == _WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if not number:
                self._window += more
            elif number in self._streams:
                self._streams[number].window += more
        elif kind == _RST_STREAM or (kind == _HEADERS and flags & _END_STREAM):
            self.ended += self._streams.pop(number, None) is not None

    def _settle(self, payload: bytes) -> None:
        self._most = self._most or 2**31
        for start in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[start : start + 6])
            if name == _MAX_CONCURRENT_STREAMS:
                self._most = value
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._initial
                self._initial = value
