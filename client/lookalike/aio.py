"""asyncio client: `lookalike.aio.Client`.

Its methods are those of lookalike.Client, which documents them. Await the calls; read
lists with `async for`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from lookalike import _calls, _forks, _request, _sync, pieces
from lookalike._aio_channels import LoopChannels
from lookalike._aio_experiments import Experiments
from lookalike._aio_methods import Methods
from lookalike._aio_pieces import carried
from lookalike._attempts import Attempts
from lookalike._calls import Call
from lookalike._channel import TLS, Connection, Metadata
from lookalike._errors import ClosedError, LookalikeError
from lookalike._notebook.thumbnails import illustrate
from lookalike._status import from_rpc, knows_no_pieces, needs_pieces

__all__ = ["Client"]

Result = TypeVar("Result")


class Client(Methods, Experiments):
    """asyncio client of one Lookalike server. It opens one connection for each event loop that uses it.

    >>> import asyncio
    >>> import lookalike
    >>> async def main():
    ...     async with lookalike.aio.Client(address) as client:
    ...         near, home = await asyncio.gather(
    ...             client.search(key="dogs/01.jpg", k=3), client.membership(key="dogs/01.jpg")
    ...         )
    ...         cats = [image.key async for image in client.images(label="cats")]
    ...     return near.keys, home[0].cluster, len(cats)
    >>> asyncio.run(main())
    (('dogs/00.jpg', 'dogs/02.jpg', 'dogs/03.jpg'), 0, 5)
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
        """Prepare the client of the server at `target`; the arguments are those of lookalike.Client."""
        self._open(Connection.checked(target, tls, timeout, retries, wait_for_server, token, insecure, collection))

    def _open(self, connection: Connection) -> None:
        self._connection = connection
        self._route = connection.route()
        self._about = _calls.collection_field(connection.collection)
        # Read here to report an unreadable file early. A channel belongs to an event loop and is opened within it.
        self._credentials = connection.credentials()
        self._channels = LoopChannels(self._open_channel)
        self._closed = False

    def __getstate__(self) -> Connection:
        return self._connection

    def __setstate__(self, connection: Connection) -> None:
        self._open(connection)

    async def close(self) -> None:
        """Close all connections. Calls in progress are canceled and raise ClosedError."""
        self._closed = True
        await self._channels.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<lookalike.aio.Client of {self._connection.target}{', closed' if self._closed else ''}>"

    async def _prepared(self, make: Callable[[], Result], takes_long: bool) -> Result:
        return await asyncio.to_thread(make) if takes_long else make()

    async def _send(self, call: Call[Result], timeout: float | None) -> Result:
        attempts = self._connection.attempts(timeout, self._route, call.patient)
        while True:
            try:
                return await self._attempt(call, attempts)
            except LookalikeError as error:
                pause = attempts.pause_after(error)
                if pause is None:
                    raise
            await self._channels.pause(pause)

    async def _attempt(self, call: Call[Result], attempts: Attempts) -> Result:
        target = self._connection.target
        if self._closed:
            raise ClosedError(f"The client of {target} is closed; open a new one.")
        _forks.check()
        metadata = self._connection.metadata(needs_admin=call.needs_admin) + _request.metadata()
        try:
            reply = await self._answered(call.path, call.about(self._about), attempts, metadata)
        except asyncio.CancelledError as error:
            # gRPC raises this also for calls that end with their channel although nobody canceled the task.
            task = asyncio.current_task()
            cancelled = task is not None and task.cancelling() > 0
            if not cancelled and self._closed:
                raise ClosedError(f"The client of {target} was closed during the call.") from error
            raise
        except grpc.RpcError as error:
            raise from_rpc(error, target, attempts.timeout, self._route.proxy) from error
        result = call.read(reply, target)
        illustrate(result, self._pictures_of)
        return result

    async def _answered(self, path: str, request: bytes, attempts: Attempts, metadata: Metadata) -> bytes:
        """Return the reply; send the request in pieces if it or its reply is too large for one message."""
        method = self._channels.method(path)
        if len(request) <= pieces.WHOLE_BYTES:
            try:
                return await method(request, timeout=attempts.remaining, metadata=metadata)
            except grpc.RpcError as error:
                if not needs_pieces(error):
                    raise
        try:
            return await carried(self._channels.carrier(), path, request, attempts.remaining, metadata)
        except grpc.RpcError as error:
            if not knows_no_pieces(error):
                raise
        return await method(request, timeout=attempts.remaining, metadata=metadata)

    def _pictures_of(self, ids: Sequence[int]) -> tuple[Sequence[str], Sequence[bytes | None]]:
        """Fetch with the synchronous client: a notebook shows a result without awaiting."""
        if self._closed:
            raise ClosedError(f"The client of {self._connection.target} is closed; open a new one.")
        with _sync.client_of(self._connection) as client:
            return client._pictures_of(ids)

    def _open_channel(self) -> grpc.aio.Channel:
        target, options = self._connection.target, self._route.options
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, self._credentials, options)
