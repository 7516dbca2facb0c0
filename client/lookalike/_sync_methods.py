"""Methods of the client, except experiments.

`scripts/generate_async.py` generates the asyncio client's methods, `_aio_methods.py`, from this file.
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
from lookalike._images import Picture
from lookalike._labels import Label, Labels
from lookalike._memberships import Clusters, Member, Members, Memberships, MembershipsBatch
from lookalike._neighbors import Neighbors, NeighborsBatch
from lookalike._paging import Page, Pager
from lookalike._server import ServedCollection, ServerInfo

Result = TypeVar("Result")


class Methods:
    """The calls of a client, in which `timeout` is in seconds, None for the client's. A subclass sends them."""

    def _send(self, call: Call[Result], timeout: float | None) -> Result:
        raise NotImplementedError

    def _prepared(self, make: Callable[[], Result], takes_long: bool) -> Result:
        """Build a request; one that `takes_long` must not block an event loop."""
        raise NotImplementedError

    def _send_parts(self, job: Job[Result], timeout: float | None) -> Result:
        """Send a request in as many calls as the server's limits require."""
        parts = Parts(job)
        while (call := self._prepared(parts.next, job.takes_long)) is not None:
            if call.undirected is not None:
                # Rare: only the collection's description says whether distances are cosine distances.
                _calls.check_direction(parts.row(call.undirected), job.space, self.info(timeout=timeout))
            try:
                parts.add(self._send(call, timeout))
            except LookalikeError as error:
                if (parts.refused(error) and self._exceed(parts, timeout)) or parts.halved(error):
                    continue
                told = parts.renumbered(error)
                if told is error:
                    raise
                raise told from error
        return parts.joined()

    def _exceed(self, parts: Parts[Result], timeout: float | None) -> bool:
        """Return True if the last call exceeded the limits of this server, which may differ from the defaults."""
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
        """Find the `k` stored images nearest to the query, or to each query of a batch.

        Returns Neighbors for a single query and for examples, NeighborsBatch for a batch. A query has min(k, images)
        neighbors, or min(k, matches) with a filter. The image of a query by key or id is left out unless
        `include_self`.

        Query (see Client): exactly one of `key`, `id`, `image`, `vector`, `text`, `keys`, `ids`, `images`, `vectors`
        and `texts`, unless `not_keys` is given.

        - `box`: the part of `image` to search for, (x, y, width, height) in pixels of the upright image; `boxes`: those
          of `images`, None for a whole image.
        - `fingerprint`: the fingerprint of the space of `vector` or `vectors`.
        - `keys` with `not_keys`: examples and counter-examples, either may be empty. The query is 0.75 times the mean
          of the examples minus 0.15 times the mean of the counter-examples, plus the `key`, `id`, `image`, `text` or
          `vector` if given. `weights` replaces (1, 0.75, 0.15). Vectors are first scaled to length 1 if distances are
          cosine. The result leaves out the examples unless `include_self`.

        Search:

        - `space`: the embedding space; None for the collection's default space.
        - `nprobe`, `recall`, `exact`: at most one of them. `nprobe` is the number of inverted lists to visit. `recall`,
          in (0, 1], visits as many lists as reached this recall@k when the index was built. `exact` compares all
          images. A search visits further lists if the first ones have fewer than `k` images.
        - `where`: a filter, as text or as an expression of columns. All neighbors match it; `recall` has the same
          meaning.
        - `max_distance`: leave out neighbors that are farther away, so that a query may have fewer than `k`.
        - `group_by`, `per_group`: return `k` groups of up to `per_group` neighbors with equal values of this column;
          see `groups` of the result. Images without a value are in no group.
        - `after`: the result of a change, such as that of `upsert`; the search includes the change on every server of
          the collection.

        Result:

        - `fields`: attribute columns to add, or "*" for all.
        - `uris`: add the location of each image's bytes.
        - `with_vectors`: add the stored vectors.
        - `explain`: add the plan of the search, `served.plan`, which a search with a filter always has.

        Batch:

        - `errors`: "raise" fails the call if a query cannot be answered. With "rows" such a query has no neighbors, and
          `errors` of the result has the reason by row: an unreadable image, an unknown key or id, or a vector without
          direction if distances are cosine.
        - `batch_size`: the largest number of queries per call. A batch of any size is sent in calls within the server's
          limits.
        - `progress`: a function that is called after each call with the numbers of completed and of all queries, or
          True for a tqdm progress bar.
        - `timeout`: seconds for each call; None for the client's timeout.

        Raises InvalidArgumentError for an invalid argument, or a vector without direction (zero) if distances are
        cosine; NotFoundError for an unknown key, id or space; GenerationChangedError if a newer generation is loaded
        between two calls of a batch.

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
        """Return the stored vectors of images: float32 of shape (dim,) for `key` or `id`, (n, dim) for `keys` or `ids`.

        `space` None is the collection's default space. Large requests, `batch_size` and `progress` are as in `search`.

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

        The network is that of `space`; None is the collection's default space. `box`, or `boxes` for `images`, are the
        parts of the images to embed: (x, y, width, height) in pixels, after EXIF orientation has been applied. Large
        requests, `batch_size` and `progress` are as in `search`.

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
        """Return the cluster of the query, or of each query of a batch, in each clustering.

        `clusters` is the same method. The query is as in `search`, without examples.

        - `clusterings`: names of clusterings, "space/name"; when empty, all that can answer.
        - `space`: the space whose clusterings answer vectors, images and texts; None for the default space.
        - `members`: number of members to return with each cluster, nearest to the centroid first.
        - `fields`: attribute columns of the members.
        - `where`: a filter; sizes and members then count only images that match.
        - `errors`, `batch_size`, `progress`, `timeout`: as in `search`. With errors="rows", a query that cannot be
          answered has cluster -1.

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
        """List the members of a cluster, nearest to its centroid first, fetched page by page.

        `where` is a filter; None lists all members. `fields` are attribute columns to add. `page_size` None is the
        server's default. `timeout` applies to each page.

        >>> [member.key for member in client.members("toy/halves", 1, page_size=2)][:3]
        ['cats/07.jpg', 'cats/06.jpg', 'cats/08.jpg']
        """

        def fetch(token: str) -> Page[Members]:
            call = _calls.members_page(clustering, cluster, where, fields, page_size, token)
            return self._send(call, timeout)

        return Pager(fetch)

    @hinted
    def list_clusters(self, clustering: str, *, where: Where | None = None, timeout: float | None = None) -> Clusters:
        """Return the clusters of a clustering with their sizes; with a filter, `where`, only matching members count.

        >>> client.list_clusters("toy/halves").sizes
        array([5, 5])
        """
        return self._send(_calls.list_clusters(clustering, where), timeout)

    @hinted
    def info(self, *, timeout: float | None = None) -> Collection:
        """Return the description of the collection: its spaces, indexes, clusterings and attributes.

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
        """Look up the stored image of a `key` or an `id`, or those of several `keys` or `ids` in the order requested.

        `fields` are attribute columns to add, or "*" for all. NotFoundError: an image is not stored.

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
        """List the images of the collection, fetched page by page.

        - `label`: only images with this label.
        - `where`: a filter; only images that match.
        - `order`: "id" for ascending ids, or "spread" for an order in which any first part is a sample of all images.
        - `fields`: attribute columns to add, or "*" for all.
        - `page_size`: rows per page; None for the server's default.
        - `timeout`: seconds for each page.

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
        """List the nearest neighbors of images in the stored graph, fetched page by page.

        `lookalike graph` builds the graph. Name the images by `key`, `id`, `keys` or `ids`; none of them lists all
        images. `k` is the number of neighbors; None, and the maximum, is that of the graph. `space` None is the
        collection's default space. Deleted images are left out without replacement.

        FailedPreconditionError: the space has no graph. NotFoundError: an image is not stored, or not in the graph.

        >>> [(one.key, one.neighbors.tolist()) for one in client.graph(keys=["dogs/00.jpg"], k=2)]
        [('dogs/00.jpg', [1, 2])]
        """
        given = {"key": key, "id": id, "keys": keys, "ids": ids}

        def fetch(token: str) -> Page[GraphLists]:
            return self._send(_calls.graph_page(given, k, space, page_size, token), timeout)

        return Pager(fetch)

    @hinted
    def labels(self, *, page_size: int | None = None, timeout: float | None = None) -> Pager[Label, Labels]:
        """List the labels by name with the number of images of each, fetched page by page as by `images`.

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
        """Return upright JPEG thumbnails of stored images; `size` is the longer side in pixels, 16 to 512.

        >>> client.thumbnails([0, 9], size=32)[0][:2].hex()
        'ffd8'
        """
        make = partial(_calls.thumbnails, size=size)
        return self._send_parts(Job({"ids": ids}, make, _joining.thumbnails), timeout)

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return information about the server: version, devices, limits and state.

        >>> client.server_info().placement
        'cpu'
        """
        return self._send(_calls.server_info(), timeout)

    def collections(self, *, timeout: float | None = None) -> tuple[ServedCollection, ...]:
        """Return the server's collections that this client may use; the first one answers clients that name none.

        >>> [served.problem for served in client.collections()]
        ['']
        """
        return self._send(_calls.collections(), timeout)

    def reload(self, *, timeout: float | None = None) -> int:
        """Make the server look for a newer generation now; return the number of the generation that it serves.

        Needs a token with the role admin. On a server without tokens, only the user who runs it may do this, on its
        machine.

        DataLossError and other errors: the newest generation cannot be served; the server keeps the old one.

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
        """Add images to the collection, or replace images with the same keys; a replaced image gets a new id.

        - `images`: images by key, which the server embeds; or
        - `vectors`: vectors of shape (dim,) by key. If the collection has several spaces, a mapping of space names to
          vectors by key.
        - `labels`: labels by key.
        - `attributes`: values by attribute name, by key.
        - `fingerprint`: the fingerprint of the space of `vectors`.

        When this returns, the change is on the server's disk, and every later call includes it. `rejects` of the result
        has the reason for each image that cannot be decoded.

        The server must be started with --writable. Needs a token with the role write; on a server without tokens, only
        the user who runs it may do this, on its machine.

        >>> change = client.upsert(images={"new/1.jpg": "1.jpg"}, labels={"new/1.jpg": "cats"})  # doctest: +SKIP
        >>> near = client.search(key="new/1.jpg", after=change)  # doctest: +SKIP
        """
        make = partial(_update_calls.upsert, images, vectors, labels, attributes, fingerprint)
        return self._send(self._prepared(make, takes_long=True), timeout)

    @hinted
    def delete(
        self, *, keys: Sequence[str] | None = None, where: Where | None = None, timeout: float | None = None
    ) -> Deleted:
        """Delete images by `keys`, or all images that match the filter `where`. The result counts unknown keys."""
        return self._send(_update_calls.delete(keys, where), timeout)

    @hinted
    def restore(self, *, ids: Sequence[int], timeout: float | None = None) -> Restored:
        """Restore images that were deleted or replaced, by `ids`, until a fold makes the deletion final.

        An image whose key another image has now is not restored; the result counts such ids. An empty `ids` changes
        nothing, and so checks whether the caller may change the collection.
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
        """Set the `label`, "" for none, or the `attributes` of the images with these `keys`. They keep their ids."""
        return self._send(_update_calls.describe(keys, label, attributes), timeout)

    def fold(self, *, timeout: float | None = None) -> Folded:
        """Fold all changes into the next generation, and return once the server serves it."""
        return self._send(_update_calls.fold(), timeout)

    def is_serving(self, service: str | None = None, *, timeout: float | None = None) -> bool:
        """Return True if the server is ready, by the standard gRPC health check; False also if no server answers.

        `service` is the service of the health check, None for the whole server.

        >>> client.is_serving()
        True
        """
        try:
            return self._send(_calls.health(service), timeout)
        except (UnavailableError, DeadlineExceededError):
            return False
