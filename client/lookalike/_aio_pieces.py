"""Send a call in pieces within an event loop."""

from __future__ import annotations

from typing import Final, TypeAlias

import grpc
import grpc.aio

from lookalike import pieces
from lookalike._channel import Metadata

Carrier: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"

# gRPC reports this in place of the server's status if a call ends while a message is being sent.
_LOST: Final = "Internal error from Core"


async def carried(carrier: Carrier, path: str, request: bytes, timeout: float | None, metadata: Metadata) -> bytes:
    """Send `request` to the method `path` in pieces and return the reply.

    Raises grpc.aio.AioRpcError with the server's status. gRPC loses the status if the
    server ends the call in the middle of the request; the error then has UNAVAILABLE.
    """
    call = carrier(timeout=timeout, metadata=(*metadata, *pieces.metadata(path, len(request))))
    try:
        # The server sends initial metadata when it is ready to receive, so a rejection arrives before the first piece.
        await call.initial_metadata()
        if not call.done():
            await _send(call, request)
        return pieces.reply_of([message async for message in call])
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INTERNAL or error.details() != _LOST:
            raise
        details = "The server ended the call while the client sent its request; retry the call."
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, error.initial_metadata(), error.trailing_metadata(), details
        ) from error
    finally:
        call.cancel()


async def _send(call: grpc.aio.StreamStreamCall[bytes, bytes], request: bytes) -> None:
    for piece in pieces.request_pieces(request):
        if call.done():
            # Reading the reply raises the reason.
            return
        await call.write(piece)
    # The stream stays open: the server knows the length, and half-closing a stream that has ended is an error.
