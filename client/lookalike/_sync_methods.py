"""What a client asks of a server, besides experiments.

`scripts/generate_async.py` makes the asyncio client's methods, `_aio_methods.py`, of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import SupportsIndex, TypeVar, Unpack, overload

import numpy.typing as npt

from lookalike import _calls, _joining, _update_calls
from lookalike._arguments import (
    Box,
    ClustersMany,
    ClustersOne,
    Errors,
    Fields,
    IdSequence,
    ManyImages,
    OneImage,
    Order,
    Progress,
    SearchExamples,
    SearchMany,
    SearchOne,
    Weights,
)
from lookalike._batches import Job, Parts
from lookalike._calls import Call
from lookalike._changes import After, Deleted, Described, Folded, NewPictures, NewVectors, Restored, Upserted, Values
from lookalike._collection import Collection, StoredImage, StoredImages, Thumbnails
from lookalike._columns import Float32
from lookalike._errors import DeadlineExceededError, LookalikeError, UnavailableError
from lookalike._filters import Where
from lookalike._graph import GraphList, GraphLists
from lookalike._hints import hinted
from lookalike._labels import Label, Labels
from lookalike._memberships import Clusters, Member, Members, Memberships, MembershipsBatch
from lookalike._neighbors import Neighbors, NeighborsBatch
from lookalike._paging import Page, Pager
from lookalike._pictures import Picture
from lookalike._server import ServedCollection, ServerInfo

Result = TypeVar("Result")


class Methods:
    """The calls of a client; a subclass sends them."""

    def _send(self, call: Call[Result], timeout: float | None) -> Result:
        raise NotImplementedError

    def _prepared(self, make: Callable[[], Result], takes_long: bool) -> Result:
        """Make a request; one that `takes_long` must not hold up an event loop."""
        raise NotImplementedError

    def _send_parts(self, job: Job[Result], timeout: float | None) -> Result:
        """Send a request in as many calls as the server's limits ask for."""
        parts = Parts(job)
        while (call := self._prepared(parts.next, job.takes_long)) is not None:
            if call.undirected is not None:
                # Rare, and only the collection tells whether distances are cosine.
                _calls.check_direction(parts.row(call.undirected), job.space, self.info(timeout=timeout))
            try:
                parts.add(self._send(call, timeout))
            except LookalikeError as error:
                if (parts.refused(error) and self._exceed(parts, timeout)) or parts.halved(error):
                    continue
                told = parts.told(error)
                if told is error:
                    raise
                raise told from error
        return parts.joined()

    def _exceed(self, parts: Parts[Result], timeout: float | None) -> bool:
        """Whether the last call was larger than the server's limits, which may differ from the usual ones."""
        try:
            info = self.server_info(timeout=timeout)
        except LookalikeError:
            return False
        return parts.exceed(info.limits)

    @overload
    def search(self, *, timeout: float | None = None, **ask: Unpack[SearchOne]) -> Neighbors: ...
    @overload
    def search(self, *, timeout: float | None = None, **ask: Unpack[SearchMany]) -> NeighborsBatch: ...
    @overload
    def search(self, *, timeout: float | None = None, **ask: Unpack[SearchExamples]) -> Neighbors: ...
    @hinted
    def search(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        image: Picture | None = None,
        vector: npt.ArrayLike | None = None,
        text: str | None = None,
        keys: Sequence[str] | None = None,
        ids: IdSequence | None = None,
        images: Sequence[Picture] | None = None,
        vectors: npt.ArrayLike | None = None,
        texts: Sequence[str] | None = None,
        k: int = 10,
        space: str | None = None,
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
        fingerprint: str | None = None,
        box: Box | None = None,
        boxes: Sequence[Box | None] | None = None,
        batch_size: int | None = None,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> Neighbors | NeighborsBatch:
        """The `k` stored images nearest to the query, or to each query of a batch.

        `space` is the collection's default one when None. At most one of `nprobe`
        (inverted lists to visit), `recall` (as many lists as reached this recall@k
        when the index was built, in (0, 1]) and `exact` says how hard to look. Each
        query has min(k, images) neighbors: further lists are visited where the
        first hold fewer. A query by key or id leaves its own image out unless
        `include_self`. `uris` asks for where each image's bytes are.

        `where` is a filter, as text or as an expression of columns: each query has
        min(k, matches) neighbors, all of which match, and `recall` means what it
        means without one. `fields` are columns that come with the neighbors, "*" all
        attributes of the collection. `served.plan` tells how a search with a filter
        was made, and with `explain` any search. `with_vectors` brings the stored
        vectors along. `after` is what a change returned, such as that of `upsert`: the answer has it, also where
        another server of the collection gives it.

        `max_distance` leaves farther neighbors out, so that `k` is but a bound. With
        `group_by`, a column, there are `k` groups of up to `per_group` neighbors of
        equal values, fewer where no further group matches: `groups` of the result.
        Images without a value are in no group. `box` is the part of `image` that is
        asked about, (x, y, width, height) in pixels of the upright picture; `boxes`
        are those of `images`.

        With `not_keys`, which may be empty, `keys` are examples of what is looked for
        and `not_keys` counter-examples, and the result is a single one. The query
        is 0.75 times the mean of the examples less 0.15 times that of the
        counter-examples, besides the `key`, `id`, `image`, `text` or `vector` that is given;
        `weights` are other numbers than (1, 0.75, 0.15). Vectors have length 1 first
        where distances are cosine. Examples are no neighbors, unless `include_self`.

        A batch may have any number of queries. It is sent in calls that are within the server's limits, or of at most
        `batch_size` queries; `timeout` is that of each call. `progress` is a function that is told the number of
        queries done and of all after each call, or True for a bar by tqdm. Where a new generation is served meanwhile,
        GenerationChangedError is raised.

        With `errors` "rows", a query of a batch that cannot be answered has no
        neighbors, and `errors` of the result says why, by row: a picture that cannot
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
        given = {
            "key": key,
            "id": id,
            "image": image,
            "vector": vector,
            "text": text,
            "keys": keys,
            "ids": ids,
            "images": images,
            "vectors": vectors,
            "texts": texts,
            "fingerprint": fingerprint,
            "box": box,
            "boxes": boxes,
            "not_keys": not_keys,
        }
        make = partial(
            _calls.search,
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
            weights=weights,
            group_by=group_by,
            per_group=per_group,
            with_vectors=with_vectors,
            after=_update_calls.sequence_of(after),
            errors=errors,
        )
        job = Job(given, make, _joining.neighbors, batch_size=batch_size, progress=progress, space=space)
        return self._send_parts(job, timeout)

    @hinted
    def vectors(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        keys: Sequence[str] | None = None,
        ids: IdSequence | None = None,
        space: str | None = None,
        batch_size: int | None = None,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> Float32:
        """The stored vectors of images, float32: of shape (dim,) of a `key` or an `id`, (n, dim) of several.

        `space` is the collection's default one when None. Large requests, `batch_size` and `progress` are as in
        `search`.

        >>> client.vectors(keys=["dogs/00.jpg", "cats/09.jpg"]).shape
        (2, 2)
        """
        given = {"key": key, "id": id, "keys": keys, "ids": ids}
        make = partial(_calls.vectors, space=space)
        return self._send_parts(Job(given, make, _joining.vectors, batch_size=batch_size, progress=progress), timeout)

    @hinted
    def embed(
        self,
        *,
        image: Picture | None = None,
        text: str | None = None,
        images: Sequence[Picture] | None = None,
        texts: Sequence[str] | None = None,
        box: Box | None = None,
        boxes: Sequence[Box | None] | None = None,
        space: str | None = None,
        batch_size: int | None = None,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> Float32:
        """Embed an image or a text: float32 of shape (dim,); or several `images` or `texts`: (n, dim).

        The vectors are those of the network of a `space`, the collection's default one when None. `box`, or `boxes`,
        are the parts of the images to embed, each (x, y, width, height) in pixels, after EXIF orientation has been
        applied. Large requests, `batch_size` and `progress` are as in `search`.

        >>> from PIL import Image
        >>> client.embed(image=Image.new("RGB", (8, 8))).tolist()
        [1.0, 0.0]
        """
        given = {"image": image, "text": text, "images": images, "texts": texts, "box": box, "boxes": boxes}
        make = partial(_calls.vectors, space=space)
        return self._send_parts(Job(given, make, _joining.vectors, batch_size=batch_size, progress=progress), timeout)

    @overload
    def membership(self, *, timeout: float | None = None, **ask: Unpack[ClustersOne]) -> Memberships: ...
    @overload
    def membership(self, *, timeout: float | None = None, **ask: Unpack[ClustersMany]) -> MembershipsBatch: ...
    @hinted
    def membership(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        image: Picture | None = None,
        vector: npt.ArrayLike | None = None,
        text: str | None = None,
        keys: Sequence[str] | None = None,
        ids: IdSequence | None = None,
        images: Sequence[Picture] | None = None,
        vectors: npt.ArrayLike | None = None,
        texts: Sequence[str] | None = None,
        clusterings: Sequence[str] | str = (),
        space: str | None = None,
        members: int = 10,
        where: Where | None = None,
        fields: Fields = (),
        errors: Errors = "raise",
        fingerprint: str | None = None,
        box: Box | None = None,
        boxes: Sequence[Box | None] | None = None,
        batch_size: int | None = None,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> Memberships | MembershipsBatch:
        """The cluster of the query, or of each query of a batch, in each clustering.

        `clusters` is the same method. `clusterings` names those that are asked about, as "space/name"; all that
        can be answered when empty. Vectors and pictures are answered in the
        clusterings of one `space`, the default one when None. `members` is how many of
        the members nearest to the centroid come with each answer, and `fields` which
        of their columns. With a filter, `where`, sizes and members are those of the
        images that match. `errors`, `batch_size` and `progress` are as in `search`: with "rows", a query that
        cannot be answered is in cluster -1.

        >>> home = client.membership(key="cats/09.jpg", members=2)
        >>> home["toy/halves"].cluster, home["toy/halves"].size, home["toy/halves"].nearest.keys
        (1, 5, ('cats/07.jpg', 'cats/06.jpg'))
        """
        given = {
            "key": key,
            "id": id,
            "image": image,
            "vector": vector,
            "text": text,
            "keys": keys,
            "ids": ids,
            "images": images,
            "vectors": vectors,
            "texts": texts,
            "fingerprint": fingerprint,
            "box": box,
            "boxes": boxes,
        }
        make = partial(
            _calls.memberships,
            clusterings=clusterings,
            space=space,
            members=members,
            where=where,
            fields=fields,
            errors=errors,
        )
        return self._send_parts(
            Job(given, make, _joining.memberships, batch_size=batch_size, progress=progress), timeout
        )

    clusters = membership

    @hinted
    def members(
        self,
        clustering: str,
        cluster: int,
        *,
        where: Where | None = None,
        fields: Fields = (),
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> Pager[Member, Members]:
        """The members of a cluster, nearest to its centroid first, fetched page by page.

        `where` is a filter: all members when None. `fields` are columns that come
        with them. `page_size` is the server's default when None; `timeout` is that of each page.

        >>> [member.key for member in client.members("toy/halves", 1, page_size=2)][:3]
        ['cats/07.jpg', 'cats/06.jpg', 'cats/08.jpg']
        """

        def fetch(token: str) -> Page[Members]:
            call = _calls.members_page(clustering, cluster, where, fields, page_size, token)
            return self._send(call, timeout)

        return Pager(fetch)

    @hinted
    def list_clusters(self, clustering: str, *, where: Where | None = None, timeout: float | None = None) -> Clusters:
        """The clusters of a clustering with their sizes; with a filter, those of the members that match.

        >>> client.list_clusters("toy/halves").sizes
        array([5, 5])
        """
        return self._send(_calls.list_clusters(clustering, where), timeout)

    @hinted
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
    @hinted
    def lookup(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        keys: Sequence[str] | None = None,
        ids: IdSequence | None = None,
        fields: Fields = (),
        timeout: float | None = None,
    ) -> StoredImage | StoredImages:
        """The stored image of a `key` or an `id`, or those of several `keys` or `ids`, in the order asked for.

        `fields` are columns that come with them, "*" all attributes of the collection.

        >>> client.lookup(key="dogs/01.jpg").id
        1
        >>> client.lookup(ids=[3, 8]).keys
        ('dogs/03.jpg', 'cats/08.jpg')
        """
        given = {"key": key, "id": id, "keys": keys, "ids": ids}
        make = partial(_calls.lookup, fields=fields)
        return self._send_parts(Job(given, make, _joining.images, limit="max_page_size"), timeout)

    @hinted
    def images(
        self,
        *,
        label: str | None = None,
        where: Where | None = None,
        order: Order = "id",
        fields: Fields = (),
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> Pager[StoredImage, StoredImages]:
        """The images of the collection, fetched page by page.

        `label` and `where`, a filter, say which; all when they are left out.
        `order` is "id" for ascending ids, or "spread" for one whose beginning
        is a sample of them all.
        `fields` are columns that come with them, "*" all attributes of the
        collection. `page_size` is the server's default when None; `timeout` is that of each page.

        >>> [image.key for image in client.images(label="cats")][:2]
        ['cats/05.jpg', 'cats/06.jpg']
        >>> [len(page.items) for page in client.images(page_size=4).pages()]
        [4, 4, 3]
        """

        def fetch(token: str) -> Page[StoredImages]:
            call = _calls.images_page(label, where, order, fields, page_size, token)
            return self._send(call, timeout)

        return Pager(fetch)

    @hinted
    def graph(
        self,
        *,
        key: str | None = None,
        id: SupportsIndex | None = None,
        keys: Sequence[str] | None = None,
        ids: IdSequence | None = None,
        k: int | None = None,
        space: str | None = None,
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> Pager[GraphList, GraphLists]:
        """The nearest others of images in the stored graph that `lookalike graph` makes, fetched page by page.

        Of the images that are named, in their order, or of all. `k` is at most that of the graph, which it is when
        None. `space` is the collection's default one when None. Deleted images are left out, and nothing takes
        their place.

        FailedPreconditionError: the space has no graph. NotFoundError: an image that is not stored, or that the graph
        lacks.

        >>> [(one.key, one.neighbors.tolist()) for one in client.graph(keys=["dogs/00.jpg"], k=2)]
        [('dogs/00.jpg', [1, 2])]
        """
        given = {"key": key, "id": id, "keys": keys, "ids": ids}

        def fetch(token: str) -> Page[GraphLists]:
            return self._send(_calls.graph_page(given, k, space, page_size, token), timeout)

        return Pager(fetch)

    @hinted
    def labels(self, *, page_size: int | None = None, timeout: float | None = None) -> Pager[Label, Labels]:
        """The labels by name, with the number of images that have each, fetched page by page, as `images` are.

        >>> list(client.labels())
        [Label(label='cats', images=5), Label(label='dogs', images=5)]
        """

        def fetch(token: str) -> Page[Labels]:
            return self._send(_calls.labels_page(page_size, token), timeout)

        return Pager(fetch)

    @hinted
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
        make = partial(_calls.thumbnails, size=size)
        return self._send_parts(Job({"ids": ids}, make, _joining.thumbnails), timeout)

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

    @hinted
    def upsert(
        self,
        *,
        images: NewPictures | None = None,
        vectors: NewVectors | None = None,
        labels: Mapping[str, str] | None = None,
        attributes: Mapping[str, Values] | None = None,
        fingerprint: str | None = None,
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
        make = partial(_update_calls.upsert, images, vectors, labels, attributes, fingerprint)
        return self._send(self._prepared(make, takes_long=True), timeout)

    @hinted
    def delete(
        self, *, keys: Sequence[str] | None = None, where: Where | None = None, timeout: float | None = None
    ) -> Deleted:
        """Delete images by `keys`, or all that match the filter `where`. A key that no image has is counted."""
        return self._send(_update_calls.delete(keys, where), timeout)

    @hinted
    def restore(self, *, ids: Sequence[int], timeout: float | None = None) -> Restored:
        """Bring back images that were deleted or replaced, by `ids`, as long as that is not part of a generation.

        An image whose key has another image now stays deleted, and is counted. Without ids nothing changes: the call
        tells whether this caller may change the collection.
        """
        return self._send(_update_calls.restore(ids), timeout)

    @hinted
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

    def is_serving(self, service: str | None = None, *, timeout: float | None = None) -> bool:
        """Whether the server is up and ready, by the standard health check; False also when none answers.

        `service` is that of the check, None for the server as a whole.

        >>> client.is_serving()
        True
        """
        try:
            return self._send(_calls.health(service), timeout)
        except (UnavailableError, DeadlineExceededError):
            return False
