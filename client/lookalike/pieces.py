"""Calls whose request or reply is too large for one message: how both are cut, and what goes with the call.

The client and the server share this module; proto/lookalike/v1/pieces.proto has the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from lookalike.v1 import pieces_pb2

# The method that carries all others.
METHOD: Final = "/lookalike.v1.PieceService/Call"
# Entries of the metadata: the method that is carried, and the bytes of its request.
METHOD_KEY: Final = "lookalike-method"
BYTES_KEY: Final = "lookalike-bytes"
# The reason, in google.rpc.ErrorInfo, of a call without pieces whose reply is too large for one message.
NEEDED: Final = "PIECES_NEEDED"

# gRPC copies a message in one step, about 1 ms for each MiB.
PIECE_BYTES: Final = 1 << 20
# The client sends longer requests in pieces. Shorter ones cost less in one message, as vectors and most photographs do.
WHOLE_BYTES: Final = 4 << 20


def metadata(path: str, size: int) -> tuple[tuple[str, str], ...]:
    """What goes with a call of the method `path`, "/package.Service/Method", whose request has `size` bytes."""
    return (METHOD_KEY, path.removeprefix("/")), (BYTES_KEY, str(size))


def request_pieces(request: bytes) -> Iterator[bytes]:
    """A request as serialized messages, each with a piece."""
    for piece in cut(request):
        yield pieces_pb2.CallRequest(data=piece).SerializeToString()


def reply_pieces(reply: bytes | bytearray) -> Iterator[bytes]:
    """A reply as serialized messages, each with a piece."""
    for piece in cut(reply):
        yield pieces_pb2.CallResponse(data=piece).SerializeToString()


def reply_of(messages: Iterable[bytes]) -> bytes:
    """The reply of its serialized pieces."""
    return b"".join(pieces_pb2.CallResponse.FromString(message).data for message in messages)


def cut(message: bytes | bytearray) -> Iterator[bytes]:
    """The pieces of a message, none where it is empty."""
    view = memoryview(message)
    for start in range(0, len(view), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])
