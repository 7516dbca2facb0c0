"""The synchronous client."""

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
from lookalike._notebook.pictures import SIZE, TIMEOUT_S, illustrate
from lookalike._status import from_rpc, knows_no_pieces, needs_pieces
from lookalike._sync_experiments import Experiments
from lookalike._sync_methods import Methods

Result = TypeVar("Result")


class Client(Methods, Experiments):
    """A client of one Lookalike server; safe to use from several threads at once.

    >>> import lookalike
    >>> with lookalike.Client(address) as client:
    ...     near = client.search(key="dogs/01.jpg", k=3)
    >>> near.keys
    ('dogs/00.jpg', 'dogs/02.jpg', 'dogs/03.jpg')

    A query is exactly one of `key`, `id`, `image`, `text` and `vector` (an array of
    shape (dim,)), which gives a single result; or of `keys`, `ids`, `images`, `texts`
    and `vectors` (an array of shape (n, dim)), which gives a batch of results. Texts
    describe pictures, for spaces of a model that knows texts (`takes_text` of a Space).
    Vectors are float32, float16 or float64 (sent as float32); with `fingerprint`, that of
    the space which they were embedded in, a server whose space is another one
    refuses them.

    A picture is a path, the bytes of a file, a file object, a Pillow image, or an
    array of pixels: uint8 or uint16 of shape (height, width), or with 1 to 4
    channels last (gray, gray and alpha, RGB, RGBA). A Pillow image that was not
    changed since it was opened is sent as its file; others are encoded without loss.

    A client can be pickled, and sent to the workers of a pool or a data loader: its
    settings are, and the copy connects anew. They hold the token, so keep a
    pickled client as secret as that.

    Every method but `close` raises LookalikeError, in one of its kinds, and takes
    the `timeout` of the call in seconds; without one, that of the client holds.
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
        """Prepare to call the server at `target`; no call is made yet.

        `target` is an address such as "127.0.0.1:50051", grpc://HOST:PORT, or grpcs://HOST:PORT for TLS. Without one,
        the environment names the server, as for the command line: LOOKALIKE_SERVER (127.0.0.1:50051 where it is not
        set), and LOOKALIKE_CA, LOOKALIKE_TOKEN or LOOKALIKE_TOKEN_FILE, and LOOKALIKE_COLLECTION_NAME for what is not
        given here.

        `tls` is True for a server with a certificate from a public authority, or
        a TLS. `token` is for a server that asks for one; it goes only over TLS or
        to this machine itself, unless `insecure` says that the network is
        trusted. `timeout` is that of each call in seconds, its retries included;
        None waits without an end.

        A call that the server cannot take now is repeated up to `retries` times, 0
        to 4, with growing pauses. An overloaded server names the pause: then the call
        is repeated until its timeout. While nobody listens at `target`, as when a
        server is starting, a call is repeated until its timeout, too, unless
        `wait_for_server` is False. `retries` 0 turns all of this off.

        `collection` is the name of one of the server's collections, which all
        calls are about; the only one, or the first, when None.
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
        """End the connection. Calls that are under way are cancelled."""
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
        """The keys of images, which tell that they are those of a result, and their thumbnails."""
        return self.lookup(ids=ids, timeout=TIMEOUT_S).keys, self.thumbnails(ids, size=SIZE, timeout=TIMEOUT_S).jpegs

    def _attempt(self, call: Call[Result], attempts: Attempts) -> Result:
        target = self._connection.target
        if self._over.is_set():
            raise ClosedError(f"The client of {target} is closed; open a new one.")
        _forks.check()
        if self._forks != _forks.forks():
            # gRPC has cut the connection that this process inherited.
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
        """The reply to a request, both in pieces where one of them is too large for one message."""
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
    """Another client with the settings of one."""
    client = Client.__new__(Client)
    client.__setstate__(connection)
    return client
