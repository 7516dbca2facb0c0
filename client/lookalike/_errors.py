"""What can go wrong, as one tree.

    LookalikeError                     the root
    ├── InvalidArgumentError           a wrong argument, found here or by the server; also a ValueError
    │   └── MessageTooLargeError       a call or a reply with more bytes than a message may have
    ├── NotFoundError                  no such key, id, space, clustering or cluster
    ├── FailedPreconditionError        the collection lacks what was asked of it, such as an index
    │   └── GenerationChangedError     a newer generation came between two calls of a list or a batch
    ├── OverloadedError                the server's queue is full; `retry_after` says when to come back
    ├── UnavailableError               no server answers, or it is going down or lost its device
    ├── DeadlineExceededError          no answer within the timeout; also a TimeoutError
    ├── CallCancelledError             the server cancelled the call
    ├── AuthenticationError            the server does not know the caller, or does not allow the call
    ├── UnimplementedError             the server does not know the call: it is older, or no Lookalike server
    ├── DataLossError                  stored bytes of the collection are not what was written
    ├── ServerError                    the server failed in a way that it did not foresee
    ├── ProtocolError                  a reply that this version of the client cannot read
    └── ClosedError                    the client was closed before or during the call, or by a fork of its process

Each message is one sentence or two for the person who can mend it. What the
server said is kept as it said it.
"""

from __future__ import annotations

import grpc


class LookalikeError(Exception):
    """The root of all errors that the client raises on purpose.

    `code` is the gRPC status that the error came from, None when no server was
    asked. `retry_after` is in seconds, None when the server named no delay.
    `request_id` is what the server's log calls the call, None when none answered.
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
    """A wrong argument, found here before the call or by the server."""


class MessageTooLargeError(InvalidArgumentError):
    """A call or a reply with more bytes than a message may have."""


class NotFoundError(LookalikeError):
    """No such key, id, space, clustering or cluster."""


class FailedPreconditionError(LookalikeError):
    """The collection lacks what was asked of it, such as an index."""


class GenerationChangedError(FailedPreconditionError):
    """A newer generation came between two calls of one list or batch, which are not mixed; ask again."""


class OverloadedError(LookalikeError):
    """The server's queue is full, or the caller's share of it; `retry_after` says when to come back, in seconds.

    The client has come back so often as `retries` and the timeout allow.
    """


class UnavailableError(LookalikeError):
    """No server answers, or it is going down, or it lost its device. The call was tried several times."""


class DeadlineExceededError(LookalikeError, TimeoutError):
    """No answer came within the timeout."""


class CallCancelledError(LookalikeError):
    """The server cancelled the call."""


class AuthenticationError(LookalikeError):
    """The server does not know the caller, or does not allow it the call."""


class UnimplementedError(LookalikeError):
    """The server does not know the call: it is older than this client, or is no Lookalike server."""


class DataLossError(LookalikeError):
    """Stored bytes of the collection are not what was written."""


class ServerError(LookalikeError):
    """The server failed in a way that it did not foresee."""


class ProtocolError(LookalikeError):
    """A reply that this version of the client cannot read."""


class ClosedError(LookalikeError):
    """The client was closed before or during the call, or its process was forked while gRPC was in use."""


# Tracebacks name an error as its users do: lookalike.NotFoundError.
for _error in list(globals().values()):
    if isinstance(_error, type) and issubclass(_error, LookalikeError):
        _error.__module__ = "lookalike"
