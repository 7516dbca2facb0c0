"""Synchronous client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc

from lookalike import _calls, _forks, _request, pieces
from lookalike._attempts import Attempts
from lookalike._calls import Call
from lookalike._channel import TLS, Connection, Metadata
from lookalike._errors import ClosedError, LookalikeError
from lookalike._notebook.thumbnails import SIZE, TIMEOUT_S, illustrate
from lookalike._status import from_rpc, knows_no_pieces, needs_pieces
from lookalike._sync_experiments import Experiments
from lookalike._sync_methods import Methods

Result = TypeVar("Result")


class Client(Methods, Experiments):
    """Synchronous client of one Lookalike server. Safe to use from several threads.

    >>> import lookalike
    >>> with lookalike.Client(address) as client:
    ...     near = client.search(key="dogs/01.jpg", k=3)
    >>> near.keys
    ('dogs/00.jpg', 'dogs/02.jpg', 'dogs/03.jpg')

    **Queries.** A single query is exactly one of `key`, `id`, `image`, `text` and `vector`, and returns a single
    result. A batch is exactly one of `keys`, `ids`, `images`, `texts` and `vectors`, and returns a batch of results.

    - `key`, `id`: a stored image.
    - `image`: a path, the bytes of a file, a file object, a Pillow image, or an array of pixels. An array is uint8 or
      uint16 of shape (height, width) or (height, width, channels), with 1 to 4 channels: gray, gray and alpha, RGB,
      RGBA. A Pillow image that is unchanged since it was opened is sent as its file; others are encoded without loss.
    - `text`: a description of an image, for spaces of a model with a text encoder (`Space.takes_text`).
    - `vector`: shape (dim,), and `vectors`: shape (n, dim); float32, float16, or float64, which is sent as float32.
      Pass the `fingerprint` of the space that a vector was embedded in: the server then rejects it if its space
      differs.

    **Timeouts and errors.** Every method that calls the server takes a `timeout` in seconds; None means the client's
    timeout. It raises a subclass of LookalikeError.

    **Processes.** A client can be pickled and sent to worker processes; the copy has the same settings and opens its
    own connection. The pickle contains the token, so keep it as secret as the token.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        tls: bool | TLS = False,
        token: str | None = None,
        insecure: bool = False,
        timeout: float | None = 30.0,
        retries: int = 3,
        wait_for_server: bool = True,
        collection: str | None = None,
    ) -> None:
        """Prepare the client of the server at `target`; no call is made yet.

        - `target`: "HOST:PORT" such as "127.0.0.1:50051", grpc://HOST:PORT, or grpcs://HOST:PORT for TLS. If None, the
          environment variables of the command line set the server and what is not passed here: LOOKALIKE_SERVER
          (default 127.0.0.1:50051), LOOKALIKE_CA, LOOKALIKE_TOKEN or LOOKALIKE_TOKEN_FILE, and
          LOOKALIKE_COLLECTION_NAME.
        - `tls`: True for a server with a certificate of a public authority, or a TLS object.
        - `token`: the token of this client, for servers that require one. It is sent only over TLS or to this machine.
        - `insecure`: True allows a token over an unencrypted, trusted network.
        - `timeout`: seconds for each call including its retries; None waits without a limit.
        - `retries`: retries of a temporarily rejected call, 0 to 4, with exponential backoff. An overloaded server
          names the delay; such a call is retried until its timeout. 0 turns off all retries.
        - `wait_for_server`: retry until the timeout while no server listens at `target`, for example while it starts.
        - `collection`: the name of the server's collection for all calls; None for the server's first one.

        Raises InvalidArgumentError if an argument is invalid or a file of `tls` cannot be read.
        """
        self._open(Connection.checked(target, tls, timeout, retries, wait_for_server, token, insecure, collection))

    def _open(self, connection: Connection) -> None:
        self._connection = connection
        self._route = connection.route()
        self._about = _calls.collection_field(connection.collection)
        credentials, options = connection.credentials(), self._route.options
        if credentials is None:
            self._channel = grpc.insecure_channel(connection.target, options)
        else:
            self._channel = grpc.secure_channel(connection.target, credentials, options)
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._over = threading.Event()
        self._forks = _forks.forks()

    def __getstate__(self) -> Connection:
        return self._connection

    def __setstate__(self, connection: Connection) -> None:
        self._open(connection)

    def close(self) -> None:
        """Close the connection. Calls in progress are canceled and raise ClosedError."""
        self._over.set()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lookalike.Client of {self._connection.target}{', closed' if self._over.is_set() else ''}>"

    def _send(self, call: Call[Result], timeout: float | None) -> Result:
        attempts = self._connection.attempts(timeout, self._route, call.patient)
        while True:
            try:
                return self._attempt(call, attempts)
            except LookalikeError as error:
                pause = attempts.pause_after(error)
                if pause is None:
                    raise
            self._over.wait(pause)

    def _prepared(self, make: Callable[[], Result], takes_long: bool) -> Result:
        return make()

    def _pictures_of(self, ids: Sequence[int]) -> tuple[Sequence[str], Sequence[bytes | None]]:
        """Fetch the keys of images, which identify them, and their thumbnails."""
        return self.lookup(ids=ids, timeout=TIMEOUT_S).keys, self.thumbnails(ids, size=SIZE, timeout=TIMEOUT_S).jpegs

    def _attempt(self, call: Call[Result], attempts: Attempts) -> Result:
        target = self._connection.target
        if self._over.is_set():
            raise ClosedError(f"The client of {target} is closed; open a new one.")
        _forks.check()
        if self._forks != _forks.forks():
            # gRPC has closed the connection that this process inherited.
            self._open(self._connection)
        metadata = self._connection.metadata(needs_admin=call.needs_admin) + _request.metadata()
        try:
            with _forks.calling():
                reply = self._answered(call.path, call.about(self._about), attempts, metadata)
        except grpc.RpcError as error:
            if self._over.is_set():
                raise ClosedError(f"The client of {target} was closed during the call.") from error
            raise from_rpc(error, target, attempts.timeout, self._route.proxy) from error
        result = call.read(reply, target)
        illustrate(result, self._pictures_of)
        return result

    def _answered(self, path: str, request: bytes, attempts: Attempts, metadata: Metadata) -> bytes:
        """Return the reply; send the request in pieces if it or its reply is too large for one message."""
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = self._channel.unary_unary(path)
        if len(request) <= pieces.WHOLE_BYTES:
            try:
                return method(request, timeout=attempts.remaining, metadata=metadata)
            except grpc.RpcError as error:
                if not needs_pieces(error):
                    raise
        carrier: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(pieces.METHOD)
        told = (*metadata, *pieces.metadata(path, len(request)))
        try:
            return pieces.reply_of(carrier(pieces.request_pieces(request), timeout=attempts.remaining, metadata=told))
        except grpc.RpcError as error:
            if not knows_no_pieces(error):
                raise
        return method(request, timeout=attempts.remaining, metadata=metadata)


def client_of(connection: Connection) -> Client:
    """Return another client with the same settings."""
    client = Client.__new__(Client)
    client.__setstate__(connection)
    return client
