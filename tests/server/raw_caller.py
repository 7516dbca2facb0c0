"""A caller of HTTP/2 that does what gRPC's own library would not."""

from __future__ import annotations

import socket
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4


class RawCaller:
    """A caller that gRPC's own library would not be, on one HTTP/2 connection.

    `window` is how many bytes of each reply the server may send unasked,
    `source` the address that it calls from: another one is another peer.
    """

    def __init__(self, address: str, window: int = 65_535, source: str = "127.0.0.1") -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30, source_address=(source, 0))
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)))
        self._stream = -1

    def call(self, method: str, message: bytes, sent: int | None = None) -> None:
        """Begin a call and send so many bytes of its message, all of them and the end when None."""
        self._stream += 2
        headers = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost",
                   "te": "trailers", "content-type": "application/grpc"}  # fmt: skip
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
        self.socket.sendall(_frame(_HEADERS, _END_HEADERS, self._stream, block))
        body = b"\x00" + struct.pack(">I", len(message)) + message
        cut = body if sent is None else body[:sent]
        for start in range(0, len(cut), 16_384):
            piece = cut[start : start + 16_384]
            last = sent is None and start + len(piece) == len(body)
            self.socket.sendall(_frame(_DATA, _END_STREAM if last else 0, self._stream, piece))

    def close(self) -> None:
        self.socket.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _text(text: str) -> bytes:
    """A literal of HPACK: no table, no Huffman code; shorter than 127 bytes."""
    data = text.encode()
    return bytes([len(data)]) + data


GREETING = _PREFACE + _frame(_SETTINGS, 0, 0, b"")
