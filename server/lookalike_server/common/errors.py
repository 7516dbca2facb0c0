"""Exceptions of the server, and the table of their gRPC status codes.

IndexerError                          (lookalike_indexer.errors)
├── UsageError
│   ├── ArgumentError                 a field of a request is wrong
│   │   └── LargeReplyError           a field asks for a larger reply than allowed
│   ├── LargeMessageError             a request or a reply exceeds the size limit
│   └── PiecesNeededError             a reply is too large for one message, but can be sent in pieces
├── OverloadedError                   a queue, or a peer's share, is full; says when to retry
├── ExpiredError                      the caller's deadline passed before the work began
├── UnknownCallerError                the call has no token, or an unknown one
├── ForbiddenError                    the caller's role does not allow the call
├── UnknownMethodError                no service has the method
├── ShardLostError                    no replica of a shard answers the router
└── RefusedError                      another process of this server has rejected the call
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from lookalike_indexer.errors import (
    DataLossError,
    DecodeError,
    DeviceError,
    IndexerError,
    MismatchError,
    NotBuiltError,
    NotFoundError,
    UsageError,
    WeightsError,
)

DOMAIN = "lookalike"

# Bytes of the longest message. Messages travel in headers, of which gRPC accepts 8 KiB. Each is sent as text, in which
# a byte beyond ASCII takes three, and twice in the details, as base64. A quoted key of a caller may be longer.
_LONGEST = 900


class ArgumentError(UsageError):
    """A field of a request is wrong; `field` is its path, such as "query.vectors"."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class LargeReplyError(ArgumentError):
    """A field asks for a larger reply than allowed. Clients split a batch when they get this reason."""


class LargeMessageError(UsageError):
    """A request or a reply exceeds the size limit."""


class PiecesNeededError(UsageError):
    """A reply is too large for one message. PieceService can send it."""


class OverloadedError(IndexerError):
    """A queue, or a peer's share, is full; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ExpiredError(IndexerError):
    """The caller's deadline passed before the work began."""


class UnknownCallerError(IndexerError):
    """The call has no token, or an unknown one."""


class ForbiddenError(IndexerError):
    """The caller's role does not allow the call."""


class UnknownMethodError(IndexerError):
    """No service has the method."""


class ShardLostError(IndexerError):
    """No replica of a shard answers. The call fails, because a search of some images would be wrong."""


# The first matching class counts, so subclasses must precede their bases.
TABLE: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (UsageError, grpc.StatusCode.INVALID_ARGUMENT),
    (DecodeError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (NotBuiltError, grpc.StatusCode.FAILED_PRECONDITION),
    (MismatchError, grpc.StatusCode.FAILED_PRECONDITION),
    (WeightsError, grpc.StatusCode.FAILED_PRECONDITION),
    (OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ExpiredError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (UnknownCallerError, grpc.StatusCode.UNAUTHENTICATED),
    (ForbiddenError, grpc.StatusCode.PERMISSION_DENIED),
    (UnknownMethodError, grpc.StatusCode.UNIMPLEMENTED),
    (DeviceError, grpc.StatusCode.UNAVAILABLE),
    (ShardLostError, grpc.StatusCode.UNAVAILABLE),
    (DataLossError, grpc.StatusCode.DATA_LOSS),
)


@dataclass(frozen=True)
class Refusal:
    """An error for gRPC: `details` is a serialized google.rpc.Status, `reason` is that of its ErrorInfo."""

    code: grpc.StatusCode
    message: str
    details: bytes
    reason: str


class RefusedError(IndexerError):
    """Another process of this server rejected the call, and defined the error for the caller."""

    def __init__(self, refused: Refusal) -> None:
        super().__init__(refused.message)
        self.refused = refused


def refusal(error: Exception, told: Callable[[str], str] = str) -> Refusal:
    """Return what the caller is told about an error. `told` redacts the text for the caller.

    An error that is not in the table is INTERNAL. Its text is for the log, and is not sent.
    """
    if isinstance(error, RefusedError):
        return error.refused
    code = next((code for kind, code in TABLE if isinstance(error, kind)), None)
    text = _shortened(told(str(error)))
    if code is None:
        message = "Unexpected error; see the server's log."
        details = _status(grpc.StatusCode.INTERNAL, message, "INTERNAL", [])
        return Refusal(grpc.StatusCode.INTERNAL, message, details, "INTERNAL")
    reason = _reason(error)
    return Refusal(code, text, _status(code, text, reason, _more(error, text)), reason)


def _shortened(text: str) -> str:
    data = text.encode(errors="replace")
    return text if len(data) <= _LONGEST else f"{data[:_LONGEST].decode(errors='ignore')}..."


def _reason(error: Exception) -> str:
    """Return the reason of an error: NotFoundError -> "NOT_FOUND"."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _more(error: Exception, text: str) -> list[any_pb2.Any]:
    if isinstance(error, ArgumentError):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=text)
        return [_packed(error_details_pb2.BadRequest(field_violations=[violation]))]
    if isinstance(error, OverloadedError):
        delay = duration_pb2.Duration(nanos=0)
        delay.FromMilliseconds(math.ceil(error.retry_after * 1000))
        return [_packed(error_details_pb2.RetryInfo(retry_delay=delay))]
    return []


def _status(code: grpc.StatusCode, message: str, reason: str, more: list[any_pb2.Any]) -> bytes:
    info = _packed(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    number: int = code.value[0]
    data: bytes = status_pb2.Status(code=number, message=message, details=[info, *more]).SerializeToString()
    return data


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
