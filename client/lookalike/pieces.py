"""Calls whose request or reply is too large for one message: splitting, joining, and metadata.

The client and the server share this module; proto/lookalike/v1/pieces.proto specifies the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from lookalike.v1 import pieces_pb2

# The method that carries all other calls.
METHOD: Final = "/lookalike.v1.PieceService/Call"
# Metadata keys: the method that is carried, and the size of its request in bytes.
METHOD_KEY: Final = "lookalike-method"
BYTES_KEY: Final = "lookalike-bytes"
# The reason in google.rpc.ErrorInfo if the reply of a unary call is too large for one message.
NEEDED: Final = "PIECES_NEEDED"

# gRPC copies a message in one step, about 1 ms for each MiB.
PIECE_BYTES: Final = 1 << 20
# The client sends longer requests in pieces. Shorter ones, such as vectors and most images, cost less in one message.
WHOLE_BYTES: Final = 4 << 20


def metadata(path: str, size: int) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call of the method `path`, "/package.Service/Method", with a request of `size` bytes."""
    return (METHOD_KEY, path.removeprefix("/")), (BYTES_KEY, str(size))


def request_pieces(request: bytes) -> Iterator[bytes]:
    """Split a request into serialized messages with one piece each."""
    for piece in cut(request):
        yield pieces_pb2.CallRequest(data=piece).SerializeToString()


def reply_pieces(reply: bytes | bytearray) -> Iterator[bytes]:
    """Split a reply into serialized messages with one piece each."""
    for piece in cut(reply):
        yield pieces_pb2.CallResponse(data=piece).SerializeToString()


def reply_of(messages: Iterable[bytes]) -> bytes:
    """Join the serialized pieces of a reply."""
    return b"".join(pieces_pb2.CallResponse.FromString(message).data for message in messages)


def cut(message: bytes | bytearray) -> Iterator[bytes]:
    """Yield the pieces of a message; none if it is empty."""
    view = memoryview(message)
    for start in range(0, len(view), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])
