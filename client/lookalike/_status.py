"""Conversion of gRPC errors to the client's exceptions."""

from __future__ import annotations

import functools
from typing import Any, Protocol, cast

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message, message_factory

from lookalike import _errors as e
from lookalike import pieces
from lookalike._proxy import Proxy
from lookalike._request import HEADER

_CLASSES: dict[grpc.StatusCode, type[e.LookalikeError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: e.InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: e.InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: e.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: e.FailedPreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: e.OverloadedError,
    grpc.StatusCode.UNAVAILABLE: e.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: e.DeadlineExceededError,
    grpc.StatusCode.CANCELLED: e.CallCancelledError,
    grpc.StatusCode.UNAUTHENTICATED: e.AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: e.AuthenticationError,
    grpc.StatusCode.UNIMPLEMENTED: e.UnimplementedError,
    grpc.StatusCode.DATA_LOSS: e.DataLossError,
    grpc.StatusCode.INTERNAL: e.ServerError,
    grpc.StatusCode.UNKNOWN: e.ServerError,
    grpc.StatusCode.ABORTED: e.ServerError,
    grpc.StatusCode.ALREADY_EXISTS: e.ServerError,
}

# Error texts of gRPC itself, which suggest no fix. If gRPC changes a text, the exception's message falls back to
# it; the class depends on texts only for a message beyond gRPC's own limit, which has no status of its own.
_NOT_CONNECTED = ("failed to connect", "errors resolving", "DNS resolution failed", "Socket closed", "recvmsg:")
# The operating system's error for a port without a listener, as gRPC reports it.
_NOBODY_LISTENS = "Connection refused"
_TOO_LARGE = "message larger than max"
# The server's reasons for a request or a reply beyond its limit.
_LARGE_MESSAGE = "LARGE_MESSAGE"
_LARGE_REPLY = "LARGE_REPLY"
# Reason of a Lookalike server, which says itself why it does not offer a call.
_UNKNOWN_METHOD = "UNKNOWN_METHOD"
_TIMED_OUT = "Deadline Exceeded"
_CANCELLED = "CANCELLED"


class _Status(Protocol):
    """Status of a failed call. grpc.RpcError declares none of these methods, but every error of a call has them."""

    def code(self) -> grpc.StatusCode | None: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Any: ...


def from_rpc(
    error: grpc.RpcError, target: str, timeout: float | None = None, proxy: Proxy | None = None
) -> e.LookalikeError:
    """Convert the error of a call to `target`, with a timeout of `timeout` seconds and through `proxy`."""
    status = cast("_Status", error)
    code = status.code() or grpc.StatusCode.UNKNOWN
    details = status.details() or ""
    kind = _CLASSES.get(code, e.ServerError)
    reason = _reason(status)
    if _is_too_large(code, details) or reason in (_LARGE_MESSAGE, _LARGE_REPLY):
        kind = e.MessageTooLargeError
    # The server's sentence names the argument to reduce, or the reason why it lacks the call.
    is_whole = reason in (_LARGE_REPLY, _UNKNOWN_METHOD)
    sentence = details if is_whole else _sentence(kind, details, code, target, timeout)
    request_id = _request_id(status)
    if proxy is not None and request_id is None:
        # No Lookalike server replied, so the reply may be the proxy's.
        sentence += f" {proxy.advice}"
    return kind(sentence, code=code, retry_after=_retry_after(status), request_id=request_id)


def needs_pieces(error: grpc.RpcError) -> bool:
    """Return True if a request or its reply is too large for one message."""
    status = cast("_Status", error)
    return _is_too_large(status.code(), status.details() or "") or _reason(status) == pieces.NEEDED


def knows_no_pieces(error: grpc.RpcError) -> bool:
    """Return True if a call in pieces failed because the server is too old for them."""
    return cast("_Status", error).code() is grpc.StatusCode.UNIMPLEMENTED


def is_not_listening(error: e.LookalikeError) -> bool:
    """Return True if no server listened on the port, for example while a server is starting."""
    return isinstance(error, e.UnavailableError) and error.request_id is None and _NOBODY_LISTENS in str(error)


def _sentence(
    kind: type[e.LookalikeError], details: str, code: grpc.StatusCode, target: str, timeout: float | None
) -> str:
    if kind is e.MessageTooLargeError:
        return f"The request or reply is too large for one call; use smaller batches. ({details})"
    if kind is e.DeadlineExceededError and (not details or _TIMED_OUT in details) and timeout is not None:
        return f"{target} did not answer within {timeout:g} s; allow more by timeout=."
    if kind is e.UnimplementedError:
        return f"{target} does not know this call: it is older than this client, or no Lookalike server. ({details})"
    if kind is e.UnavailableError and any(words in details for words in _NOT_CONNECTED):
        return f"No server answers at {target}: is `lookalike serve` running there? ({details})"
    if kind is e.CallCancelledError and details in ("", _CANCELLED):
        return f"{target} cancelled the call, as a stopping server does; retry the call."
    return details or f"{target} failed with {code.name} and gave no reason."


def _request_id(status: _Status) -> str | None:
    return next((value for key, value in status.trailing_metadata() or () if key == HEADER), None)


def _is_too_large(code: grpc.StatusCode | None, details: str) -> bool:
    """Return True if gRPC itself rejected a message for its size."""
    return code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details


def _retry_after(status: _Status) -> float | None:
    """Return the seconds of google.rpc.RetryInfo in the status details; None if there is none."""
    info = _detail(status, "RetryInfo")
    return None if info is None else float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)


def _reason(status: _Status) -> str:
    """Return the reason of google.rpc.ErrorInfo in the status details; "" if there is none."""
    info = _detail(status, "ErrorInfo")
    return "" if info is None else str(info.reason)


def _detail(status: _Status, name: str) -> Any:
    """Return the message google.rpc.`name` of the status details; None if there is none."""
    known = _google_rpc()
    for key, value in status.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            for detail in known["Status"].FromString(value).details:
                if detail.type_url.endswith(f"/google.rpc.{name}"):
                    return known[name].FromString(detail.value)
        except message.DecodeError:
            return None  # malformed details must not hide the error itself
    return None


@functools.cache
def _google_rpc() -> dict[str, Any]:
    """Return the message classes Status, ErrorInfo and RetryInfo of google.rpc, by name.

    They are declared here, in a descriptor pool of their own, because the client does not
    depend on the package that ships them. The field numbers are those of
    google/rpc/status.proto and google/rpc/error_details.proto.
    """
    field = descriptor_pb2.FieldDescriptorProto
    once, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(
        name="lookalike/google_rpc.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=["google/protobuf/any.proto", "google/protobuf/duration.proto"],
    )
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=field.TYPE_INT32, label=once)
    status.field.add(name="message", number=2, type=field.TYPE_STRING, label=once)
    status.field.add(name="details", number=3, type=field.TYPE_MESSAGE, label=many, type_name=".google.protobuf.Any")
    retry_info = file.message_type.add(name="RetryInfo")
    retry_info.field.add(
        name="retry_delay", number=1, type=field.TYPE_MESSAGE, label=once, type_name=".google.protobuf.Duration"
    )
    error_info = file.message_type.add(name="ErrorInfo")
    error_info.field.add(name="reason", number=1, type=field.TYPE_STRING, label=once)
    pool = descriptor_pool.DescriptorPool()
    for needed in (any_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR):
        pool.AddSerializedFile(needed.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        kind.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.rpc.{kind.name}"))
        for kind in file.message_type
    }
