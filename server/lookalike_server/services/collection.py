"""CollectionService: what is in the collection."""

from __future__ import annotations

import hashlib
import weakref
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format

from lookalike import wire
from lookalike.v1 import collection_pb2, collection_pb2_grpc
from lookalike_indexer.arrays import Int64
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.columns import RowsWithLabel
from lookalike_server.columns.spread import spread
from lookalike_server.common import visible
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.processes.thumbnails import Thumbnails
from lookalike_server.query.distinct import Distinct
from lookalike_server.services import filtering, replies
from lookalike_server.services.filtering import RequestedColumns, fitting
from lookalike_server.services.graph_lists import GraphLists
from lookalike_server.services.pagination import Pager, sequence_of
from lookalike_server.services.replies import METRICS, Stopwatch, served


class CollectionServicer(collection_pb2_grpc.CollectionServiceServicer):
    def __init__(self, current: Current, limits: Limits, thumbnails: Thumbnails, workers: Workers) -> None:
        self._current = current
        self._limits = limits
        self._thumbnails = thumbnails
        self._workers = workers
        # Snapshot, space, and ids of the last listed graph.
        self._listed: tuple[weakref.ref[Snapshot], str, Int64] | None = None

    async def GetCollection(
        self, request: collection_pb2.GetCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized GetCollectionResponse."""
        with self._current.lease() as snapshot:

            def serialized() -> bytes:
                reply = _described(snapshot.description)
                visible.put(reply)
                return reply.SerializeToString()

            return await self._workers.run(serialized)

    async def GetImages(
        self, request: collection_pb2.GetImagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized GetImagesResponse."""
        watch = Stopwatch()
        kind = request.WhichOneof("which")
        if kind is None:
            raise ArgumentError("which", "The call names no images; set keys or ids.")
        wanted: Any = request.keys.values if kind == "keys" else request.ids.values
        if not 1 <= len(wanted) <= self._limits.max_page_size:
            raise ArgumentError(
                kind, f"The call names {len(wanted)} images; it must name 1 to {self._limits.max_page_size}."
            )
        with self._current.lease() as snapshot:
            asked = RequestedColumns.of(snapshot, request.fields, self._limits)

            def serialized() -> bytes:
                columns = snapshot.columns
                rows = (
                    columns.rows_of_keys(wanted) if kind == "keys" else columns.rows_of_ids(np.array(wanted, np.int64))
                )
                images = replies.images(columns, rows, asked.of_rows(rows))
                return fitting(
                    collection_pb2.GetImagesResponse(
                        images=images, served=served(snapshot, None, watch)
                    ).SerializeToString(),
                    self._limits,
                )

            return await (self._workers.run(serialized) if asked else self._workers.run_lookup(serialized, len(wanted)))

    async def ListImages(
        self, request: collection_pb2.ListImagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized ListImagesResponse."""
        watch = Stopwatch()
        with self._current.lease(sequence_of(request.page_token)) as snapshot:
            columns = snapshot.columns
            asked = RequestedColumns.of(snapshot, request.fields, self._limits)
            listed: Int64 | RowsWithLabel | None = columns.listed
            if request.label:
                listed = columns.rows_with_label(request.label)
            spreads = request.order == collection_pb2.IMAGE_ORDER_SPREAD
            named = f"images/{'spread' if spreads else 'id'}/{request.label}"
            if request.HasField("filter"):
                matches = (await filtering.matches_of(snapshot, request.filter, self._workers)).matches
                labeled = listed
                listed = await self._workers.run(
                    lambda: np.flatnonzero(matches.images) if labeled is None else labeled[matches.images[labeled]]
                )
                named += f"/{matches.meaning}"
            total = len(columns) if listed is None else len(listed)
            pager = Pager(snapshot.generation, f"{snapshot.name}/{named}", snapshot.sequence)
            page = pager.page(request.page_token, request.page_size, total, self._limits)
            if page.stop < page.total:
                self._current.retain(snapshot)

            def serialized() -> bytes:
                places = spread(page.start, page.stop, total) if spreads else np.arange(page.start, page.stop)
                rows = places if listed is None else listed[places].astype(np.int64, copy=False)
                return fitting(
                    collection_pb2.ListImagesResponse(
                        images=replies.images(columns, rows, asked.of_rows(rows)),
                        total=total,
                        next_page_token=pager.token_after(page),
                        served=served(snapshot, None, watch),
                    ).SerializeToString(),
                    self._limits,
                )

            length = page.stop - page.start
            return await (self._workers.run(serialized) if asked else self._workers.run_lookup(serialized, length))

    async def ListGraph(
        self, request: collection_pb2.ListGraphRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized ListGraphResponse."""
        watch = Stopwatch()
        kind = request.WhichOneof("which")
        wanted: Any = () if kind is None else getattr(request, kind).values
        if kind is not None and not wanted:
            raise ArgumentError(kind, "The call names no images; name some, or omit keys and ids for all images.")
        with self._current.lease(sequence_of(request.page_token)) as snapshot:
            graph = GraphLists.of(snapshot, request.space)
            if not 0 <= request.k <= graph.entry.k:
                raise ArgumentError("k", f"k is {request.k}, and the graph of {graph.space} has {graph.entry.k}.")

            def serialized() -> tuple[bytes, bool]:
                columns = snapshot.columns
                if kind is None:
                    ids = self._listed_in(graph)
                else:
                    ids = columns.ids_of_keys(wanted) if kind == "keys" else columns.known_ids(wanted)
                named = "" if kind is None else hashlib.sha256(ids.tobytes()).hexdigest()
                pager = Pager(
                    snapshot.generation, f"{snapshot.name}/graph/{graph.space}/{request.k}/{named}", snapshot.sequence
                )
                page = pager.page(request.page_token, request.page_size, len(ids), self._limits)
                some = ids[page.start : page.stop]
                neighbors, distances = graph.lists(some, request.k or graph.entry.k)
                reply = collection_pb2.ListGraphResponse(
                    ids=wire.encode(some),
                    keys=columns.keys(columns.rows_of_ids(some)),
                    neighbors=wire.encode(neighbors),
                    distances=wire.encode(distances),
                    metric=METRICS[graph.entry.metric],
                    method=graph.entry.method,
                    recall=graph.entry.recall,
                    total=page.total,
                    next_page_token=pager.token_after(page),
                    served=served(snapshot, snapshot.space(graph.space), watch),
                )
                return fitting(reply.SerializeToString(), self._limits), page.stop < page.total

            reply, goes_on = await self._workers.run(serialized)
            if goes_on:
                self._current.retain(snapshot)
            return reply

    def _listed_in(self, graph: GraphLists) -> Int64:
        """Return the ids of all images of a graph. Cached for the following pages of a listing."""
        listed = self._listed
        if listed is None or listed[0]() is not graph.snapshot or listed[1] != graph.space:
            # A weak reference, so that the generation can be freed.
            listed = self._listed = weakref.ref(graph.snapshot), graph.space, graph.listed()
        return listed[2]

    async def ListLabels(
        self, request: collection_pb2.ListLabelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized ListLabelsResponse."""
        watch = Stopwatch()
        with self._current.lease(sequence_of(request.page_token)) as snapshot:
            columns = snapshot.columns
            pager = Pager(snapshot.generation, f"{snapshot.name}/labels", snapshot.sequence)
            page = pager.page(request.page_token, request.page_size, columns.label_count, self._limits)
            if page.stop < page.total:
                self._current.retain(snapshot)

            def serialized() -> bytes:
                labels, counts = columns.labels_by_name(page.start, page.stop)
                return fitting(
                    collection_pb2.ListLabelsResponse(
                        labels=labels,
                        counts=wire.encode(counts),
                        total=page.total,
                        next_page_token=pager.token_after(page),
                        served=served(snapshot, None, watch),
                    ).SerializeToString(),
                    self._limits,
                )

            return await self._workers.run_lookup(serialized, page.stop - page.start)

    async def GetThumbnails(
        self, request: collection_pb2.GetThumbnailsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized GetThumbnailsResponse."""
        watch = Stopwatch()
        limits = self._limits
        size = request.size or limits.default_thumbnail_side
        if not limits.min_thumbnail_side <= size <= limits.max_thumbnail_side:
            raise ArgumentError(
                "size", f"size is {size}; it must be {limits.min_thumbnail_side} to {limits.max_thumbnail_side}."
            )
        if not 1 <= len(request.ids) <= limits.max_batch:
            raise ArgumentError(
                "ids", f"The call names {len(request.ids)} images; it must name 1 to {limits.max_batch}."
            )
        ids = np.array(request.ids, np.int64)
        with self._current.lease() as snapshot:
            # Each image only once, however often the call names it.
            distinct = Distinct.of(request.ids)
            columns = snapshot.columns
            uris = await self._workers.run_lookup(
                lambda: columns.uris(columns.rows_of_ids(ids[distinct.first])), len(distinct.first)
            )
            made = await self._thumbnails.make(uris, size)

            def written() -> bytes:
                jpegs = [made[which] for which in distinct.inverse]
                reply = collection_pb2.GetThumbnailsResponse(jpegs=jpegs, served=served(snapshot, None, watch))
                return reply.SerializeToString()

            return await self._workers.run_lookup(written, len(ids))


def _described(description: dict[str, Any]) -> collection_pb2.GetCollectionResponse:
    """Convert the plain description to a message. Only metrics are spelled differently there."""
    spaces = [
        {
            **space,
            "index": space["index"] and _with_metric(space["index"]),
            "indexes": [_with_metric(index) for index in space["indexes"]],
        }
        for space in description["spaces"]
    ]
    return json_format.ParseDict({**description, "spaces": spaces}, collection_pb2.GetCollectionResponse())


def _with_metric(index: dict[str, Any]) -> dict[str, Any]:
    return {**index, "metric": f"METRIC_{index['metric'].upper()}"}
