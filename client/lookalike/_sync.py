"""The client for ordinary code."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import grpc

from lookalike import _calls, _forks, _request, _update_calls
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
from lookalike._notebook.pictures import SIZE, TIMEOUT_S, illustrate
from lookalike._paging import Pager
from lookalike._server import ServedCollection, ServerInfo
from lookalike._status import from_rpc
from lookalike._sync_experiments import Experiments

Result = TypeVar("Result")


class Client(Experiments):
    """A client of one Lookalike server; safe to use from several threads at once.

    >>> import lookalike
    >>> with lookalike.Client(address) as client:
    ...     near = client.search(key="dogs/01.jpg", k=3)
    >>> near.keys
    ('dogs/00.jpg', 'dogs/02.jpg', 'dogs/03.jpg')

    A query is exactly one of `key`, `id`, `image` and `vector` (an array of shape
    (dim,)), which gives a single result; or of `keys`, `ids`, `images` and
    `vectors` (an array of shape (n, dim)), which gives a batch of results. Vectors
    are float32, float16 or float64 (sent as float32); with `fingerprint`, that of
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
        """Prepare to call the server at `target`, such as "127.0.0.1:50051"; no call is made yet.

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
        calls are about; the only one, or the first, when empty.
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

    @overload
    def search(self, *, timeout: float | None = None, **ask: Unpack[SearchOne]) -> Neighbors: ...
    @overload
    def search(self, *, timeout: float | None = None, **ask: Unpack[SearchMany]) -> NeighborsBatch: ...
    @overload
    def search(self, *, timeout: float | None = None, **ask: Unpack[SearchExamples]) -> Neighbors: ...
    def search(
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
        """The `k` stored images nearest to the query, or to each query of a batch.

        `space` is the collection's default one when "". At most one of `nprobe`
        (inverted lists to visit), `recall` (as many lists as reached this recall@k
        when the index was built, in (0, 1]) and `exact` says how hard to look. Each
        query has min(k, images) neighbours: further lists are visited where the
        first hold fewer. A query by key or id leaves its own image out unless
        `include_self`. `uris` asks for where each image's bytes are.

        `where` is a filter, as text or as an expression of columns: each query has
        min(k, matches) neighbours, all of which match, and `recall` means what it
        means without one. `fields` are columns that come with the neighbours, "*" all
        attributes of the collection. `served.plan` tells how a search with a filter
        was made, and with `explain` any search. `with_vectors` brings the stored
        vectors along. `after` is what a change returned, such as that of `upsert`: the answer has it, also where
        another server of the collection gives it.

        `max_distance` leaves farther neighbours out, so that `k` is but a bound. With
        `group_by`, a column, there are `k` groups of up to `per_group` neighbours of
        equal values, fewer where no further group matches: `groups` of the result.
        Images without a value are in no group. `box` is the part of `image` that is
        asked about, (x, y, width, height) in pixels of the upright picture; `boxes`
        are those of `images`.

        With `not_keys`, which may be empty, `keys` are examples of what is looked for
        and `not_keys` counter-examples, and the result is a single one. The query
        is 0.75 times the mean of the examples less 0.15 times that of the
        counter-examples, besides the `key`, `id`, `image` or `vector` that is given;
        `weights` are other numbers than (1, 0.75, 0.15). Vectors have length 1 first
        where distances are cosine. Examples are no neighbours, unless `include_self`.

        With `errors` "rows", a query of a batch that cannot be answered has no
        neighbours, and `errors` of the result says why, by row: a picture that cannot
        be read, a key or id that is not stored, a query without direction where
        distances are cosine. With "raise" it fails the call, and the error names it.

        InvalidArgumentError: a vector without direction (zero) where distances are
        cosine.

        >>> near = client.search(id=2, k=2, exact=True)
        >>> near
        <Neighbors 2: 'dogs/01.jpg' 0.01519, 'dogs/03.jpg' 0.01519>
        >>> near[0].label, near.served.generation, near.served.expected_recall
        ('dogs', 1, 1.0)

        >>> import numpy as np
        >>> many = client.search(vectors=np.eye(2), k=3, recall=0.95)
        >>> many.counts, [near.keys[0] for near in many]
        (array([3, 3], dtype=int32), ['dogs/00.jpg', 'cats/09.jpg'])
        """
        call = _calls.search(
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
        if call.undirected is not None:
            # Rare, and only the collection tells whether distances are cosine.
            _calls.check_direction(call.undirected, space, self.info(timeout=timeout))
        return self._send(call, timeout)

    def vectors(self, *, space: str = "", timeout: float | None = None, **which: Unpack[AnyImages]) -> Float32:
        """The stored vectors of images, float32: of shape (dim,) of a `key` or an `id`, (n, dim) of several.

        `space` is the collection's default one when "".

        >>> client.vectors(keys=["dogs/00.jpg", "cats/09.jpg"]).shape
        (2, 2)
        """
        return self._send(_calls.vectors(which, space=space), timeout)

    def embed(self, *, space: str = "", timeout: float | None = None, **pictures: Unpack[Pictures]) -> Float32:
        """Embed a picture, or several: float32 of shape (dim,) of an `image`, (n, dim) of `images`.

        The vectors are those of the network of a `space`, the collection's default
        one when "". `box`, or `boxes`, are the parts of the pictures to embed, each
        (x, y, width, height) in pixels, after EXIF orientation has been applied.

        >>> from PIL import Image
        >>> client.embed(image=Image.new("RGB", (8, 8))).tolist()
        [1.0, 0.0]
        """
        return self._send(_calls.vectors(pictures, space=space), timeout)

    @overload
    def clusters(self, *, timeout: float | None = None, **ask: Unpack[ClustersOne]) -> Memberships: ...
    @overload
    def clusters(self, *, timeout: float | None = None, **ask: Unpack[ClustersMany]) -> MembershipsBatch: ...
    def clusters(
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
        """The cluster of the query, or of each query of a batch, in each clustering.

        `clusterings` names those that are asked about, as "space/name"; all that
        can be answered when empty. Vectors and pictures are answered in the
        clusterings of one `space`, the default one when "". `members` is how many of
        the members nearest to the centroid come with each answer, and `fields` which
        of their columns. With a filter, `where`, sizes and members are those of the
        images that match. `errors` is as in `search`: with "rows", a query that
        cannot be answered is in cluster -1.

        >>> home = client.clusters(key="cats/09.jpg", members=2)
        >>> home["toy/halves"].cluster, home["toy/halves"].size, home["toy/halves"].nearest.keys
        (1, 5, ('cats/07.jpg', 'cats/06.jpg'))
        """
        return self._send(
            _calls.memberships(
                query,
                clusterings=clusterings,
                space=space,
                members=members,
                where=where,
                fields=fields,
                errors=errors,
            ),
            timeout,
        )

    def members(
        self,
        clustering: str,
        cluster: int,
        *,
        where: Where | None = None,
        fields: Fields = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pager[Member, Members]:
        """The members of a cluster, nearest to its centroid first, fetched page by page.

        `where` is a filter: all members when None. `fields` are columns that come
        with them. `page_size` is the server's default when 0; `timeout` is that of each page.

        >>> [member.key for member in client.members("toy/halves", 1, page_size=2)][:3]
        ['cats/07.jpg', 'cats/06.jpg', 'cats/08.jpg']
        """
        return Pager(
            lambda token: self._send(_calls.members_page(clustering, cluster, where, fields, page_size, token), timeout)
        )

    def list_clusters(self, clustering: str, *, where: Where | None = None, timeout: float | None = None) -> Clusters:
        """The clusters of a clustering with their sizes; with a filter, those of the members that match.

        >>> client.list_clusters("toy/halves").sizes
        array([5, 5])
        """
        return self._send(_calls.list_clusters(clustering, where), timeout)

    def info(self, *, timeout: float | None = None) -> Collection:
        """The collection: its spaces, clusterings and indexes.

        >>> client.info().images, client.info().default_space
        (11, 'toy')
        """
        return self._send(_calls.info(), timeout)

    @overload
    def lookup(
        self, *, fields: Fields = (), timeout: float | None = None, **which: Unpack[OneImage]
    ) -> StoredImage: ...
    @overload
    def lookup(
        self, *, fields: Fields = (), timeout: float | None = None, **which: Unpack[ManyImages]
    ) -> StoredImages: ...
    def lookup(self, *, fields: Fields = (), timeout: float | None = None, **which: Any) -> StoredImage | StoredImages:
        """The stored image of a `key` or an `id`, or those of several `keys` or `ids`, in the order asked for.

        `fields` are columns that come with them, "*" all attributes of the collection.

        >>> client.lookup(key="dogs/01.jpg").id
        1
        >>> client.lookup(ids=[3, 8]).keys
        ('dogs/03.jpg', 'cats/08.jpg')
        """
        return self._send(_calls.lookup(which, fields), timeout)

    def images(
        self,
        *,
        label: str = "",
        where: Where | None = None,
        order: Order = "id",
        fields: Fields = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Pager[StoredImage, StoredImages]:
        """The images of the collection, fetched page by page.

        `label` and `where`, a filter, say which; all when they are left out.
        `order` is "id" for ascending ids, or "spread" for one whose beginning
        is a sample of them all.
        `fields` are columns that come with them, "*" all attributes of the
        collection. `page_size` is the server's default when 0; `timeout` is that of each page.

        >>> [image.key for image in client.images(label="cats")][:2]
        ['cats/05.jpg', 'cats/06.jpg']
        >>> [len(page.items) for page in client.images(page_size=4).pages()]
        [4, 4, 3]
        """
        return Pager(
            lambda token: self._send(_calls.images_page(label, where, order, fields, page_size, token), timeout)
        )

    def labels(self, *, page_size: int = 0, timeout: float | None = None) -> Pager[Label, Labels]:
        """The labels by name, with how many images have each, fetched page by page; the arguments are as of `images`.

        >>> list(client.labels())
        [Label(label='cats', images=5), Label(label='dogs', images=5)]
        """
        return Pager(lambda token: self._send(_calls.labels_page(page_size, token), timeout))

    def thumbnails(
        self,
        ids: IdSequence,
        *,
        size: int = 160,
        timeout: float | None = None,
    ) -> Thumbnails:
        """Small upright JPEGs of stored images; `size` is the longer side in pixels, 16 to 512.

        >>> client.thumbnails([0, 9], size=32)[0][:2].hex()
        'ffd8'
        """
        return self._send(_calls.thumbnails(ids, size), timeout)

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """The server: its version, devices and limits.

        >>> client.server_info().placement
        'cpu'
        """
        return self._send(_calls.server_info(), timeout)

    def collections(self, *, timeout: float | None = None) -> tuple[ServedCollection, ...]:
        """The collections of the server that this client may ask about; the first answers clients that name none.

        >>> [served.problem for served in client.collections()]
        ['']
        """
        return self._send(_calls.collections(), timeout)

    def reload(self, *, timeout: float | None = None) -> int:
        """Let the server look for a newer generation now; returns the one that it serves.

        It needs a token of the role admin. Where the server has no tokens, only the user who runs it may do this,
        on its machine.

        DataLossError and others: the newest generation cannot be served, and the old one goes on.

        >>> client.reload()
        1
        """
        return self._send(_calls.reload(), timeout)

    def upsert(
        self,
        *,
        images: NewPictures | None = None,
        vectors: NewVectors | None = None,
        labels: Mapping[str, str] | None = None,
        attributes: Mapping[str, Values] | None = None,
        fingerprint: str = "",
        timeout: float | None = None,
    ) -> Upserted:
        """Add images to a collection, or replace those with the same keys; a replaced image gets a new id.

        `images` are pictures by key, which the server embeds. `vectors` are vectors of shape (dim,) by key or, where
        the collection has several spaces, the vectors of each space by its name. `labels` and `attributes`, values by
        name, go by key as well. The change is on the server's disk when this returns, and every later call sees it. A
        picture that cannot be decoded is among `rejects` of the result, with the reason.

        The server must be started with --writable. It needs a token of the role write; where the server has no tokens,
        only the user who runs it may do this, on its machine.
        """
        return self._send(_update_calls.upsert(images, vectors, labels, attributes, fingerprint), timeout)

    def delete(
        self, *, keys: Sequence[str] | None = None, where: Where | None = None, timeout: float | None = None
    ) -> Deleted:
        """Delete images by `keys`, or all that match the filter `where`. A key that no image has is counted."""
        return self._send(_update_calls.delete(keys, where), timeout)

    def set(
        self,
        *,
        keys: Sequence[str],
        label: str | None = None,
        attributes: Values | None = None,
        timeout: float | None = None,
    ) -> Described:
        """Set the `label`, "" for none, or `attributes` of the images with some `keys`, which keep their ids."""
        return self._send(_update_calls.describe(keys, label, attributes), timeout)

    def fold(self, *, timeout: float | None = None) -> Folded:
        """Make the next generation of the changes so far, and return when it is served."""
        return self._send(_update_calls.fold(), timeout)

    def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Whether the server is up and ready, by the standard health check; False also when none answers.

        `service` is that of the check, "" for the server as a whole.

        >>> client.is_serving()
        True
        """
        try:
            return self._send(_calls.health(service), timeout)
        except (UnavailableError, DeadlineExceededError):
            return False

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
        method = self._methods.get(call.path)
        if method is None:
            method = self._methods[call.path] = self._channel.unary_unary(call.path)
        metadata = self._connection.metadata(needs_admin=call.needs_admin) + _request.metadata()
        try:
            with _forks.calling():
                reply = method(call.about(self._about), timeout=attempts.remaining, metadata=metadata)
        except grpc.RpcError as error:
            if self._over.is_set():
                raise ClosedError(f"The client of {target} was closed during the call.") from error
            raise from_rpc(error, target, attempts.timeout, self._route.proxy) from error
        result = call.read(reply, target)
        illustrate(result, self._pictures_of)
        return result


def client_of(connection: Connection) -> Client:
    """Another client with the settings of one."""
    client = Client.__new__(Client)
    client.__setstate__(connection)
    return client
