"""Exceptions of the client.

    LookalikeError                     the root
    ├── InvalidArgumentError           an invalid argument, rejected by the client or the server; also a ValueError
    │   └── MessageTooLargeError       a request or a reply exceeds the size limit of a message
    ├── NotFoundError                  no such key, id, space, clustering or cluster
    ├── FailedPreconditionError        the collection lacks something that the call needs, such as an index
    │   └── GenerationChangedError     a newer generation was loaded between two calls of a list or a batch
    ├── OverloadedError                the server's queue is full; retry after `retry_after` seconds
    ├── UnavailableError               no server answers, or it is shutting down or lost its device
    ├── DeadlineExceededError          no reply within the timeout; also a TimeoutError
    ├── CallCancelledError             the server canceled the call
    ├── AuthenticationError            the server does not know the caller, or denies it the call
    ├── UnimplementedError             the server does not know the call: it is older, or is no Lookalike server
    ├── DataLossError                  stored bytes of the collection are corrupt
    ├── ServerError                    the server failed unexpectedly
    ├── ProtocolError                  this version of the client cannot read the reply
    └── ClosedError                    the client was closed, or its process was forked while gRPC was in use

Each message is one or two sentences for the person who can fix the problem. The client
passes the server's messages on unchanged.
"""

from __future__ import annotations

import grpc


class LookalikeError(Exception):
    """Root of all exceptions that the client raises deliberately.

    - `code`: the gRPC status behind the error; None if no server was called.
    - `retry_after`: seconds to wait before a retry; None if the server named no delay.
    - `request_id`: the call's id in the server's log; None if no server replied.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.request_id = request_id


class InvalidArgumentError(LookalikeError, ValueError):
    """An invalid argument, rejected by the client before the call, or by the server."""


class MessageTooLargeError(InvalidArgumentError):
    """A request or a reply exceeds the size limit of a message."""


class NotFoundError(LookalikeError):
    """No such key, id, space, clustering or cluster."""


class FailedPreconditionError(LookalikeError):
    """The collection lacks something that the call needs, such as an index."""


class GenerationChangedError(FailedPreconditionError):
    """A newer generation was loaded between two calls of one list or batch. Repeat the whole request."""


class OverloadedError(LookalikeError):
    """The server's queue, or the caller's share of it, is full; retry after `retry_after` seconds.

    The client has already retried as often as `retries` and the timeout allow.
    """


class UnavailableError(LookalikeError):
    """No server answers, or the server is shutting down or lost its device. The client has already retried."""


class DeadlineExceededError(LookalikeError, TimeoutError):
    """No reply arrived within the timeout."""


class CallCancelledError(LookalikeError):
    """The server canceled the call."""


class AuthenticationError(LookalikeError):
    """The server does not know the caller, or denies it the call."""


class UnimplementedError(LookalikeError):
    """The server does not know the call: it is older than this client, or is no Lookalike server."""


class DataLossError(LookalikeError):
    """Stored bytes of the collection are corrupt: they differ from what was written."""


class ServerError(LookalikeError):
    """The server failed unexpectedly; its log has the details under `request_id`."""


class ProtocolError(LookalikeError):
    """The client cannot read the reply: its version does not match the server's."""


class ClosedError(LookalikeError):
    """The client was closed before or during the call, or its process was forked while gRPC was in use."""


# Tracebacks show the public name, such as lookalike.NotFoundError.
for _error in list(globals().values()):
    if isinstance(_error, type) and issubclass(_error, LookalikeError):
        _error.__module__ = "lookalike"
