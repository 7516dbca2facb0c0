"""Calls in pieces: the carried method and the pieces of the request. See pieces.proto."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import grpc
from google.protobuf.message import DecodeError

from lookalike import pieces
from lookalike.v1 import pieces_pb2
from lookalike_server.common.errors import ArgumentError, LargeMessageError
from lookalike_server.common.limits import MIB, Limits

Metadata = Iterable[tuple[str, str | bytes]]

# Limits of a piece. The event loop copies and reads each piece. Smaller ones would cost more overhead than their bytes,
# so only the last piece may be smaller.
_LARGEST, _SMALLEST = 2 * MIB, 64 << 10
# Bytes that protobuf adds to those of a piece.
_AROUND = 16
_NUMBER = re.compile(r"[0-9]{1,18}")


class CallDetails(NamedTuple):
    """Call details for interceptors: those of gRPC, and whether the call is in pieces."""

    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...] = ()
    in_pieces: bool = False


def is_in_pieces(details: grpc.HandlerCallDetails | CallDetails) -> bool:
    """Return whether request and reply of a call are in pieces."""
    return isinstance(details, CallDetails) and details.in_pieces


def carried(metadata: Metadata) -> str:
    """Return the method that a call in pieces carries, "/package.Service/Method".

    Return "/" if the metadata names none, or several.
    """
    given = _given(pieces.METHOD_KEY, metadata)
    return f"/{given[0]}" if len(given) == 1 else "/"


def announced(metadata: Metadata, limits: Limits) -> int:
    """Return the announced bytes of a request in pieces.

    Raises ArgumentError if the metadata lacks them, and LargeMessageError if they exceed the limit.
    """
    given = _given(pieces.BYTES_KEY, metadata)
    if len(given) != 1 or not _NUMBER.fullmatch(given[0]):
        raise ArgumentError(
            "request",
            "A call in pieces must give the length of its request in its metadata, such as "
            f"{pieces.BYTES_KEY}: 9000000.",
        )
    size = int(given[0])
    if size > limits.max_message_bytes:
        raise LargeMessageError(
            f"The request has {size} bytes and the limit is {limits.max_message_bytes}, which is max_message_bytes; "
            "request less at a time."
        )
    return size


async def received(read: Callable[[], Awaitable[object]], size: int) -> list[bytes]:
    """Receive the pieces of a request of `size` bytes. Raises ArgumentError if they differ from what was announced."""
    found: list[bytes] = []
    left = size
    while left:
        message = await read()
        if not isinstance(message, bytes):
            raise ArgumentError("request", f"The call ended after {size - left} of the {size} bytes of its request.")
        piece = _piece(message)
        if len(piece) > left:
            raise ArgumentError("request", f"The pieces of the request have more than its {size} bytes.")
        left -= len(piece)
        if left and len(piece) < _SMALLEST:
            raise ArgumentError(
                "request", f"A piece has {len(piece)} bytes; each but the last must have {_SMALLEST} to {_LARGEST}."
            )
        found.append(piece)
    return found


def _piece(message: bytes) -> bytes:
    if len(message) > _LARGEST + _AROUND:
        raise ArgumentError("request", f"A piece has {len(message)} bytes; the limit is {_LARGEST}.")
    try:
        data: bytes = pieces_pb2.CallRequest.FromString(message).data
    except DecodeError as error:
        raise ArgumentError("request", "A piece of the request is not a CallRequest.") from error
    return data


def _given(name: str, metadata: Metadata) -> list[str]:
    return [value for key, value in metadata if key == name and isinstance(value, str)]
