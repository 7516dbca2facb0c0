"""The client for asyncio: `lookalike.aio.Client`.

Its methods are those of lookalike.Client, which explains them all; here they
are awaited, and lists are read by `async for`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import grpc
import grpc.aio

from lookalike import _calls, _forks, _request, _sync, _update_calls
from lookalike._aio_channels import LoopChannels
from lookalike._aio_experiments import Experiments
from lookalike._arguments import (
    AnyImages,
    ClustersMany,
    ClustersOne,
    Errors,
    Fields,
    IdSequence,
    ManyImages,
    OneImage,
    Order,
    Pictures,
    SearchExamples,
    SearchMany,
    SearchOne,
    Weights,
)
from lookalike._attempts import Attempts
from lookalike._calls import Call
from lookalike._changes import After, Deleted, Described, Folded, NewPictures, NewVectors, Upserted, Values
from lookalike._channel import TLS, Connection
from lookalike._collection import Collection, StoredImage, StoredImages, Thumbnails
from lookalike._columns import Float32
from lookalike._errors import ClosedError, DeadlineExceededError, LookalikeError, UnavailableError
from lookalike._filters import Where
from lookalike._labels import Label, Labels
from lookalike._memberships import Clusters, Member, Members, Memberships, MembershipsBatch
from lookalike._neighbors import Neighbors, NeighborsBatch
from lookalike._notebook.pictures import illustrate
from lookalike._paging import AsyncPager
from lookalike._pictures import takes_long
from lookalike._server import ServedCollection, ServerInfo
from lookalike._status import from_rpc

__all__ = ["Client"]

Result = TypeVar("Result")


class Client(Experiments):
    """A client of one Lookalike server; each event loop that it is used in has a connection of its own.

    >>> import asyncio
    >>> import lookalike
    >>> async def main():
    ...     async with lookalike.aio.Client(address) as client:
    ...         near, home = await asyncio.gather(
    ...             client.search(key="dogs/01.jpg", k=3), client.clusters(key="dogs/01.jpg")
    ...         )
    ...         cats = [image.key async for image in client.images(label="cats")]
    ...     return near.keys, home[0].cluster, len(cats)
    >>> asyncio.run(main())
    (('dogs/00.jpg', 'dogs/02.jpg', 'dogs/03.jpg'), 0, 5)
    """

    def __init__(
        self,
        target: str,
        *,
        tls: bool | TLS = False,
        token: str | None = None,
        insecure: bool = False,
        timeout: float | None = 30.0,
        retries: int = 3,
        wait_for_server: bool = True,
        collection: str = "",
    ) -> None:
        """Prepare to call the server at `target`; the arguments are those of lookalike.Client."""
        self._open(Connection.checked(target, tls, timeout, retries, wait_for_server, token, insecure, collection))

    def _open(self, connection: Connection) -> None:
        self._connection = connection
        self._route = connection.route()
        self._about = _calls.collection_field(connection.collection)
        # Read here, so that a file that cannot be read is found here; a channel
        # belongs to an event loop and is made within it.
        self._credentials = connection.credentials()
        self._channels = LoopChannels(self._open_channel)
        self._closed = False

    def __getstate__(self) -> Connection:
        return self._connection

    def __setstate__(self, connection: Connection) -> None:
        self._open(connection)

    async def close(self) -> None:
        """End the connections. Calls that are under way are cancelled."""
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

    @overload
    async def search(self, *, timeout: float | None = None, **ask: Unpack[SearchOne]) -> Neighbors: ...
    @overload
    async def search(self, *, timeout: float | None = None, **ask: Unpack[SearchMany]) -> NeighborsBatch: ...
    @overload
    async def search(self, *, timeout: float | None = None, **ask: Unpack[SearchExamples]) -> Neighbors: ...
    async def search(
        self,
        *,
        k: int = 10,
        space: str = "",
        nprobe: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        include_self: bool = False,
        uris: bool = False,
        where: Where | None = None,
        fields: Fields = (),
        explain: bool = False,
        max_distance: float | None = None,
        not_keys: Sequence[str] | None = None,
        weights: Weights | None = None,
        group_by: str | None = None,
        per_group: int = 1,
        with_vectors: bool = False,
        after: After = None,
        errors: Errors = "raise",
        timeout: float | None = None,
        **query: Any,
    ) -> Neighbors | NeighborsBatch:
        """The `k` stored images nearest to the query, or to each query of a batch."""
        make = partial(
            _calls.search,
            query,
            k=k,
            space=space,
            nprobe=nprobe,
            recall=recall,
            exact=exact,
            include_self=include_self,
            uris=uris,
            where=where,
            fields=fields,
            explain=explain,
            max_distance=max_distance,
            not_keys=not_keys,
            weights=weights,
            group_by=group_by,
            per_group=per_group,
            with_vectors=with_vectors,
            after=_update_calls.sequence_of(after),
            errors=errors,
        )
        call = await asyncio.to_thread(make) if takes_long(query) else make()
        if call.undirected is not None:
            # Rare, and only the collection tells whether distances are cosine.
            _calls.check_direction(call.undirected, space, await self.info(timeout=timeout))
        return await self._send(call, timeout)

    async def vectors(self, *, space: str = "", timeout: float | None = None, **which: Unpack[AnyImages]) -> Float32:
        """The stored vectors of images, float32: of shape (dim,) of a `key` or an `id`, (n, dim) of several."""
        return await self._send(_calls.vectors(which, space=space), timeout)

    async def embed(self, *, space: str = "", timeout: float | None = None, **pictures: Unpack[Pictures]) -> Float32:
        """Embed a picture, or several: float32 of shape (dim,) of an `image`, (n, dim) of `images`."""
        make = partial(_calls.vectors, pictures, space=space)
        call = await asyncio.to_thread(make) if takes_long(pictures) else make()
        return await self._send(call, timeout)

    @overload
    async def clusters(self, *, timeout: float | None = None, **ask: Unpack[ClustersOne]) -> Memberships: ...
    @overload
    async def clusters(self, *, timeout: float | None = None, **ask: Unpack[ClustersMany]) -> MembershipsBatch: ...
    async def clusters(
        self,
        *,
        clusterings: Sequence[str] | str = (),
        space: str = "",
        members: int = 10,
        where: Where | None = None,
        fields: Fields = (),
        errors: Errors = "raise",
        timeout: float | None = None,
        **query: Any,
    ) -> Memberships | MembershipsBatch:
        """The cluster of the query, or of each query of a batch, in each clustering."""
        make = partial(
            _calls.memberships,
            query,
            clusterings=clusterings,
            space=space,
            members=members,
            where=where,
            fields=fields,
            errors=errors,
        )
        call = await asyncio.to_thread(make) if takes_long(query) else make()
        return await self._send(call, timeout)

    def members(
        self,
        clustering: str,
        cluster: int,
        *,
        where: Where | None = None,
        fields: Fields = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncPager[Member, Members]:
        """The members of a cluster, nearest to its centroid first, fetched page by page."""
        return AsyncPager(
            lambda token: self._send(_calls.members_page(clustering, cluster, where, fields, page_size, token), timeout)
        )

    async def list_clusters(
        self, clustering: str, *, where: Where | None = None, timeout: float | None = None
    ) -> Clusters:
        """The clusters of a clustering with their sizes."""
        return await self._send(_calls.list_clusters(clustering, where), timeout)

    async def info(self, *, timeout: float | None = None) -> Collection:
        """The collection: its spaces, clusterings and indexes."""
        return await self._send(_calls.info(), timeout)

    @overload
    async def lookup(
        self, *, fields: Fields = (), timeout: float | None = None, **which: Unpack[OneImage]
    ) -> StoredImage: ...
    @overload
    async def lookup(
        self, *, fields: Fields = (), timeout: float | None = None, **which: Unpack[ManyImages]
    ) -> StoredImages: ...
    async def lookup(
        self, *, fields: Fields = (), timeout: float | None = None, **which: Any
    ) -> StoredImage | StoredImages:
        """The stored image of a `key` or an `id`, or those of several `keys` or `ids`, in the order asked for."""
        return await self._send(_calls.lookup(which, fields), timeout)

    def images(
        self,
        *,
        label: str = "",
        where: Where | None = None,
        order: Order = "id",
        fields: Fields = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncPager[StoredImage, StoredImages]:
        """The images of the collection, fetched page by page."""
        return AsyncPager(
            lambda token: self._send(_calls.images_page(label, where, order, fields, page_size, token), timeout)
        )

    def labels(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncPager[Label, Labels]:
        """The labels by name, with how many images have each, fetched page by page."""
        return AsyncPager(lambda token: self._send(_calls.labels_page(page_size, token), timeout))

    async def thumbnails(self, ids: IdSequence, *, size: int = 160, timeout: float | None = None) -> Thumbnails:
        """Small upright JPEGs of stored images; `size` is the longer side in pixels, 16 to 512."""
        return await self._send(_calls.thumbnails(ids, size), timeout)

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """The server: its version, devices and limits."""
        return await self._send(_calls.server_info(), timeout)

    async def collections(self, *, timeout: float | None = None) -> tuple[ServedCollection, ...]:
        """The collections of the server that this client may ask about; the first answers clients that name none."""
        return await self._send(_calls.collections(), timeout)

    async def reload(self, *, timeout: float | None = None) -> int:
        """Let the server look for a newer generation now; returns the one that it serves. Needs the role admin."""
        return await self._send(_calls.reload(), timeout)

    async def upsert(
        self,
        *,
        images: NewPictures | None = None,
        vectors: NewVectors | None = None,
        labels: Mapping[str, str] | None = None,
        attributes: Mapping[str, Values] | None = None,
        fingerprint: str = "",
        timeout: float | None = None,
    ) -> Upserted:
        """Add images to a collection, or replace those with the same keys; see lookalike.Client."""
        return await self._send(_update_calls.upsert(images, vectors, labels, attributes, fingerprint), timeout)

    async def delete(
        self, *, keys: Sequence[str] | None = None, where: Where | None = None, timeout: float | None = None
    ) -> Deleted:
        """Delete images by `keys`, or all that match the filter `where`. A key that no image has is counted."""
        return await self._send(_update_calls.delete(keys, where), timeout)

    async def set(
        self,
        *,
        keys: Sequence[str],
        label: str | None = None,
        attributes: Values | None = None,
        timeout: float | None = None,
    ) -> Described:
        """Set the `label`, "" for none, or `attributes` of the images with some `keys`, which keep their ids."""
        return await self._send(_update_calls.describe(keys, label, attributes), timeout)

    async def fold(self, *, timeout: float | None = None) -> Folded:
        """Make the next generation of the changes so far, and return when it is served."""
        return await self._send(_update_calls.fold(), timeout)

    async def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Whether the server is up and ready, by the standard health check; False also when none answers."""
        try:
            return await self._send(_calls.health(service), timeout)
        except (UnavailableError, DeadlineExceededError):
            return False

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
        method = self._channels.method(call.path)
        metadata = self._connection.metadata(needs_admin=call.needs_admin) + _request.metadata()
        try:
            reply = await method(call.about(self._about), timeout=attempts.remaining, metadata=metadata)
        except asyncio.CancelledError as error:
            # gRPC says this also of calls that end with their channel, though nobody cancelled the task.
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

    def _pictures_of(self, ids: Sequence[int]) -> tuple[Sequence[str], Sequence[bytes | None]]:
        """As in the other client: a notebook asks for what it shows without awaiting."""
        if self._closed:
            raise ClosedError(f"The client of {self._connection.target} is closed; open a new one.")
        with _sync.client_of(self._connection) as client:
            return client._pictures_of(ids)

    def _open_channel(self) -> grpc.aio.Channel:
        target, options = self._connection.target, self._route.options
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, self._credentials, options)
