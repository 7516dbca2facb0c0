"""Parsing of requests off the event loop, with a limit on what is slow to parse.

A message is parsed in one step that holds the GIL in any thread. Vectors and images are copied at
gigabytes per second; all else is parsed field by field. So those other bytes are counted first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError

from lookalike_server.common.errors import ArgumentError

# Parsed in the event loop: takes up to a millisecond.
_FEW_TEXT, _FEW = 1 << 16, 1 << 22
# Fields examined while counting: more than a call has images.
_FIELDS = 1024
_THREADS = 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Messages:
    """Parser of requests with up to `max_text_bytes` besides vectors and images."""

    def __init__(self, max_text_bytes: int) -> None:
        self._max_text_bytes = max_text_bytes
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="messages")

    async def read(self, method: str, parse: Callable[[bytes], Any], data: bytes) -> Any:
        """Parse the request of a method, "/package.Service/Method". Raises ArgumentError if it cannot be accepted."""
        text = self._checked(method, data)
        if text <= _FEW_TEXT and len(data) <= _FEW:
            return _parsed(parse, data)
        return await asyncio.get_running_loop().run_in_executor(self._pool, _parsed, parse, data)

    async def read_pieces(self, method: str, parse: Callable[[bytes], Any], pieces: list[bytes]) -> Any:
        """Parse a request that came in `pieces`, and empty that list. Raises as `read` does."""
        if len(pieces) <= 1:
            return await self.read(method, parse, pieces.pop() if pieces else b"")

        def read() -> Any:
            data = b"".join(pieces)
            pieces.clear()
            self._checked(method, data)
            return _parsed(parse, data)

        return await asyncio.get_running_loop().run_in_executor(self._pool, read)

    def _checked(self, method: str, data: bytes) -> int:
        """Return the bytes of a message besides vectors and images, or more.

        Raises ArgumentError if there are too many.
        """
        text = len(data)
        if text > _FEW_TEXT:
            text = text_bytes(data, _request_of(method))
            if text > self._max_text_bytes:
                raise ArgumentError(
                    "request",
                    f"The request has {text} bytes besides its vectors and images, and the limit is "
                    f"{self._max_text_bytes}, which is max_text_bytes; request less at a time.",
                )
        return text

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def text_bytes(data: bytes, kind: Descriptor) -> int:
    """Return the bytes of a serialized message without those of its fields of type bytes.

    All bytes count if there are too many fields to examine, or if the bytes are not a message.
    """
    try:
        return _FieldCounter(data).count_fields(0, len(data), kind)
    except (IndexError, ValueError):
        return len(data)


class _FieldCounter:
    """Walk over the fields of a message. Raises IndexError or ValueError if it is malformed or has too many fields."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _FIELDS

    def count_fields(self, start: int, end: int, kind: Descriptor | None) -> int:
        at, text = start, 0
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many fields")
            began = at
            tag, at = self._varint(at)
            at = self._skipped(at, tag)
            field = None if kind is None else kind.fields_by_number.get(tag >> 3)
            if tag & 7 != _BYTES:
                text += at - began
                continue
            size, at = self._varint(at)
            text += at - began
            if field is not None and field.type == FieldDescriptor.TYPE_MESSAGE:
                text += self.count_fields(at, min(at + size, end), field.message_type)
            elif field is None or field.type != FieldDescriptor.TYPE_BYTES:
                text += size
            at += size
        return text

    def _skipped(self, at: int, tag: int) -> int:
        """Skip a value of fixed size or a varint. For a value with a length, return the position of the length."""
        wire_type = tag & 7
        if wire_type == _VARINT:
            return self._varint(at)[1]
        sizes = {_FIXED64: 8, _BYTES: 0, _FIXED32: 4}
        if wire_type not in sizes:
            raise ValueError("a group")
        return at + sizes[wire_type]

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while shift < 70:
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at
        raise ValueError("a number of more than ten bytes")


def _request_of(method: str) -> Descriptor:
    """Return the request type of a method."""
    found: Descriptor = Default().FindMethodByName(method.strip("/").replace("/", ".")).input_type
    return found


def _parsed(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except DecodeError as error:
        raise ArgumentError("request", "The call's message is not valid for this method.") from error
