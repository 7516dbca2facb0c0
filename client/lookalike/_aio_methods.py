"""The asyncio form of _sync_methods.py. Made by scripts/generate_async.py: change that file."""

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
from lookalike._paging import AsyncPager, Page
from lookalike._server import ServedCollection, ServerInfo

Result = TypeVar("Result")


class Methods:
    """The calls of a client, in which `timeout` is in seconds, None for the client's. A subclass sends them."""

    async def _send(self, call: Call[Result], timeout: float | None) -> Result:
        raise NotImplementedError

    async def _prepared(self, make: Callable[[], Result], takes_long: bool) -> Result:
        """Build a request; one that `takes_long` must not block an event loop."""
        raise NotImplementedError

    async def _send_parts(self, job: Job[Result], timeout: float | None) -> Result:
        """Send a request in as many calls as the server's limits require."""
        parts = Parts(job)
        while (call := (await self._prepared(parts.next, job.takes_long))) is not None:
            if call.undirected is not None:
                _calls.check_direction(parts.row(call.undirected), job.space, await self.info(timeout=timeout))
            try:
                parts.add(await self._send(call, timeout))
            except LookalikeError as error:
                if (parts.refused(error) and await self._exceed(parts, timeout)) or parts.halved(error):
                    continue
                told = parts.renumbered(error)
                if told is error:
                    raise
                raise told from error
        return parts.joined()

    async def _exceed(self, parts: Parts[Result], timeout: float | None) -> bool:
        """Return True if the last call exceeded the limits of this server, which may differ from the defaults."""
        try:
            info = await self.server_info(timeout=timeout)
        except LookalikeError:
            return False
        return parts.exceed(info.limits)

    @overload
    async def search(self, *, timeout: float | None = None, **ask: Unpack[SearchOne]) -> Neighbors: ...

    @overload
    async def search(self, *, timeout: float | None = None, **ask: Unpack[SearchMany]) -> NeighborsBatch: ...

    @overload
    async def search(self, *, timeout: float | None = None, **ask: Unpack[SearchExamples]) -> Neighbors: ...

    @hinted
    async def search(
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
        return await self._send_parts(job, timeout)

    @hinted
    async def vectors(
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
        """
        given = {"key": key, "id": id, "keys": keys, "ids": ids}
        make = partial(_calls.vectors, space=space)
        return await self._send_parts(
            Job(given, make, _joining.vectors, batch_size=batch_size, progress=progress), timeout
        )

    @hinted
    async def embed(
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
        """
        given = {"image": image, "text": text, "images": images, "texts": texts, "box": box, "boxes": boxes}
        make = partial(_calls.vectors, space=space)
        return await self._send_parts(
            Job(given, make, _joining.vectors, batch_size=batch_size, progress=progress), timeout
        )

    @overload
    async def membership(self, *, timeout: float | None = None, **ask: Unpack[ClustersOne]) -> Memberships: ...

    @overload
    async def membership(self, *, timeout: float | None = None, **ask: Unpack[ClustersMany]) -> MembershipsBatch: ...

    @hinted
    async def membership(
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
        return await self._send_parts(
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
    ) -> AsyncPager[Member, Members]:
        """List the members of a cluster, nearest to its centroid first, fetched page by page.

        `where` is a filter; None lists all members. `fields` are attribute columns to add. `page_size` None is the
        server's default. `timeout` applies to each page.
        """

        async def fetch(token: str) -> Page[Members]:
            call = _calls.members_page(clustering, cluster, where, fields, page_size, token)
            return await self._send(call, timeout)

        return AsyncPager(fetch)

    @hinted
    async def list_clusters(
        self, clustering: str, *, where: Where | None = None, timeout: float | None = None
    ) -> Clusters:
        """Return the clusters of a clustering with their sizes; with a filter, `where`, only matching members count."""
        return await self._send(_calls.list_clusters(clustering, where), timeout)

    @hinted
    async def info(self, *, timeout: float | None = None) -> Collection:
        """Return the description of the collection: its spaces, indexes, clusterings and attributes."""
        return await self._send(_calls.info(), timeout)

    @overload
    async def lookup(
        self, *, fields: Fields = (), timeout: float | None = None, **which: Unpack[OneImage]
    ) -> StoredImage: ...

    @overload
    async def lookup(
        self, *, fields: Fields = (), timeout: float | None = None, **which: Unpack[ManyImages]
    ) -> StoredImages: ...

    @hinted
    async def lookup(
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
        """
        given = {"key": key, "id": id, "keys": keys, "ids": ids}
        make = partial(_calls.lookup, fields=fields)
        return await self._send_parts(Job(given, make, _joining.images, limit="max_page_size"), timeout)

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
    ) -> AsyncPager[StoredImage, StoredImages]:
        """List the images of the collection, fetched page by page.

        - `label`: only images with this label.
        - `where`: a filter; only images that match.
        - `order`: "id" for ascending ids, or "spread" for an order in which any first part is a sample of all images.
        - `fields`: attribute columns to add, or "*" for all.
        - `page_size`: rows per page; None for the server's default.
        - `timeout`: seconds for each page.
        """

        async def fetch(token: str) -> Page[StoredImages]:
            call = _calls.images_page(label, where, order, fields, page_size, token)
            return await self._send(call, timeout)

        return AsyncPager(fetch)

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
    ) -> AsyncPager[GraphList, GraphLists]:
        """List the nearest neighbors of images in the stored graph, fetched page by page.

        `lookalike graph` builds the graph. Name the images by `key`, `id`, `keys` or `ids`; none of them lists all
        images. `k` is the number of neighbors; None, and the maximum, is that of the graph. `space` None is the
        collection's default space. Deleted images are left out without replacement.

        FailedPreconditionError: the space has no graph. NotFoundError: an image is not stored, or not in the graph.
        """
        given = {"key": key, "id": id, "keys": keys, "ids": ids}

        async def fetch(token: str) -> Page[GraphLists]:
            return await self._send(_calls.graph_page(given, k, space, page_size, token), timeout)

        return AsyncPager(fetch)

    @hinted
    def labels(self, *, page_size: int | None = None, timeout: float | None = None) -> AsyncPager[Label, Labels]:
        """List the labels by name with the number of images of each, fetched page by page as by `images`."""

        async def fetch(token: str) -> Page[Labels]:
            return await self._send(_calls.labels_page(page_size, token), timeout)

        return AsyncPager(fetch)

    @hinted
    async def thumbnails(self, ids: IdSequence, *, size: int = 160, timeout: float | None = None) -> Thumbnails:
        """Return upright JPEG thumbnails of stored images; `size` is the longer side in pixels, 16 to 512."""
        make = partial(_calls.thumbnails, size=size)
        return await self._send_parts(Job({"ids": ids}, make, _joining.thumbnails), timeout)

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return information about the server: version, devices, limits and state."""
        return await self._send(_calls.server_info(), timeout)

    async def collections(self, *, timeout: float | None = None) -> tuple[ServedCollection, ...]:
        """Return the server's collections that this client may use; the first one answers clients that name none."""
        return await self._send(_calls.collections(), timeout)

    async def reload(self, *, timeout: float | None = None) -> int:
        """Make the server look for a newer generation now; return the number of the generation that it serves.

        Needs a token with the role admin. On a server without tokens, only the user who runs it may do this, on its
        machine.

        DataLossError and other errors: the newest generation cannot be served; the server keeps the old one.
        """
        return await self._send(_calls.reload(), timeout)

    @hinted
    async def upsert(
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
        """
        make = partial(_update_calls.upsert, images, vectors, labels, attributes, fingerprint)
        return await self._send(await self._prepared(make, takes_long=True), timeout)

    @hinted
    async def delete(
        self, *, keys: Sequence[str] | None = None, where: Where | None = None, timeout: float | None = None
    ) -> Deleted:
        """Delete images by `keys`, or all images that match the filter `where`. The result counts unknown keys."""
        return await self._send(_update_calls.delete(keys, where), timeout)

    @hinted
    async def restore(self, *, ids: Sequence[int], timeout: float | None = None) -> Restored:
        """Restore images that were deleted or replaced, by `ids`, until a fold makes the deletion final.

        An image whose key another image has now is not restored; the result counts such ids. An empty `ids` changes
        nothing, and so checks whether the caller may change the collection.
        """
        return await self._send(_update_calls.restore(ids), timeout)

    @hinted
    async def set(
        self,
        *,
        keys: Sequence[str],
        label: str | None = None,
        attributes: Values | None = None,
        timeout: float | None = None,
    ) -> Described:
        """Set the `label`, "" for none, or the `attributes` of the images with these `keys`. They keep their ids."""
        return await self._send(_update_calls.describe(keys, label, attributes), timeout)

    async def fold(self, *, timeout: float | None = None) -> Folded:
        """Fold all changes into the next generation, and return once the server serves it."""
        return await self._send(_update_calls.fold(), timeout)

    async def is_serving(self, service: str | None = None, *, timeout: float | None = None) -> bool:
        """Return True if the server is ready, by the standard gRPC health check; False also if no server answers.

        `service` is the service of the health check, None for the whole server.
        """
        try:
            return await self._send(_calls.health(service), timeout)
        except (UnavailableError, DeadlineExceededError):
            return False
