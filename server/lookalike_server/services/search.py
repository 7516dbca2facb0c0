"""SearchService: top-k similarity search, and the vectors that it compares."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from lookalike import wire
from lookalike.v1 import search_pb2, search_pb2_grpc
from lookalike_indexer.arrays import Int64
from lookalike_server.batching.workers import Workers
from lookalike_server.common import call_record as record
from lookalike_server.common import visible
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.query import examples
from lookalike_server.query.queries import Resolver, count_of
from lookalike_server.query.query_vectors import Queries, row_errors, with_directions
from lookalike_server.search.hits import Hits
from lookalike_server.services import filtering
from lookalike_server.services.answering import Answering
from lookalike_server.services.auditing import offer_to_audit
from lookalike_server.services.filtering import fitting
from lookalike_server.services.grouped_search import GroupedSearch
from lookalike_server.services.plans import FilterResult, put_plan
from lookalike_server.services.replies import METRICS, Stopwatch, deadline_of, put_served
from lookalike_server.services.reply_writer import Flat, ReplySpec, flat, write_large
from lookalike_server.services.request_checks import check_vectors
from lookalike_server.services.search_task import SearchTask, effort_name

# A front process needs no audit, so it does not load faiss.
if TYPE_CHECKING:
    from lookalike_server.observe.audit import RecallAudit

# Copying this many bytes costs as much as looking up one image.
_PER_ITEM = 1 << 14


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    def __init__(
        self, current: Current, limits: Limits, resolver: Resolver, workers: Workers, audit: RecallAudit | None = None
    ) -> None:
        self._current = current
        self._workers = workers
        self._audit = audit
        self._limits = limits
        self._resolver = resolver
        self._answering = Answering()
        self._grouped = GroupedSearch(self._answering, workers, limits)

    async def Search(self, request: search_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Return a serialized SearchResponse."""
        if request.after_sequence:
            await self._current.reached(request.after_sequence)
        with self._current.lease() as snapshot:
            return await self._search(snapshot, request, deadline_of(context))

    async def GetVectors(
        self, request: search_pb2.GetVectorsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized GetVectorsResponse."""
        watch = Stopwatch()
        if self._resolver.checked_kind(request.query) == "vectors":
            raise ArgumentError(
                "query.vectors", "The call already has vectors; send keys, ids, images or texts to get their vectors."
            )
        with self._current.lease() as snapshot:
            space = snapshot.space(request.space)
            check_vectors(count_of(request.query), space.entry.dim, self._limits)
            queries = await self._resolver.vectors(
                snapshot, space, request.query, deadline_of(context), request.row_errors
            )
            watch.resolve_us = queries.resolve_us

            def written() -> bytes:
                vectors = np.full((queries.asked, space.entry.dim), np.nan, np.float32)
                vectors[queries.rows] = queries.vectors
                reply = search_pb2.GetVectorsResponse(
                    vectors=wire.encode(vectors), space_fingerprint=space.entry.fingerprint
                )
                reply.errors.extend(row_errors(queries.failed))
                put_served(reply.served, snapshot, space, watch)
                return reply.SerializeToString()

            return await self._workers.run_lookup(written, queries.vectors.nbytes // _PER_ITEM)

    async def _search(self, snapshot: Snapshot, request: search_pb2.SearchRequest, deadline: float | None) -> bytes:
        watch = Stopwatch()
        task = SearchTask.of(request, snapshot, self._resolver, self._limits)
        space = task.space
        filtered = await self._filtered(snapshot, space, request) if request.HasField("filter") else None
        queries, left_out = await self._queries(snapshot, task, deadline)
        if not len(queries.vectors):
            return _unanswered(snapshot, space, queries, watch)
        spec = ReplySpec(
            len(queries.vectors),
            task.k,
            None if request.include_self else left_out,
            task.texts,
            asked=queries.asked,
            answered=queries.rows if queries.failed else None,
            more=not task.is_plain,
        )
        if task.per_group:
            return await self._in_groups(snapshot, task, queries, spec, filtered, deadline, watch)
        asked = time.perf_counter()
        mask = None if filtered is None else filtered.mask
        answer, reply, reply_s = await self._answering.search(
            space, queries.vectors, queries.distinct, task.plan, mask, deadline, spec
        )
        hits = answer.result
        if filtered is not None:
            snapshot.filters.update_size(filtered.found.matches)
        if self._audit:
            offer_to_audit(self._audit, snapshot, space, task.plan, effort_name(request), queries.vectors, hits, mask)
        watch.resolve_us, watch.queue_us = queries.resolve_us, answer.queue_us
        watch.search_us, watch.lookup_us = answer.run_us, round(reply_s * 1e6)
        taken = record.stage("queue", asked, answer.queue_us / 1e6)
        searched = record.stage("search", taken, watch.search_us / 1e6)
        if reply is None:
            reply = await self._written(task, lambda: _flat(task, hits, spec), spec, watch)
        record.stage("lookup", searched, watch.lookup_us / 1e6)
        behind = _rest(snapshot, task, queries, hits, answer.size, filtered, watch)
        return await self._workers.run_lookup(lambda: reply + behind, len(reply) // _PER_ITEM)

    async def _queries(
        self, snapshot: Snapshot, task: SearchTask, deadline: float | None
    ) -> tuple[Queries, Int64 | None]:
        """Return the queries of a search, and the ids (queries, m) of images to leave out of each."""
        request, space = task.request, task.space
        queries = None
        if request.query.WhichOneof("kind") is not None:
            queries = await self._resolver.vectors(snapshot, space, request.query, deadline, request.row_errors)
            if space.engine.entry.metric == "cosine":
                queries = with_directions(queries, request.query, request.row_errors)
            if not request.HasField("feedback"):
                return queries, None if queries.own is None else queries.own[:, None]
        given = await self._resolver.vectors(snapshot, space, examples.keys_of(request.feedback), deadline)
        moved, ids = await self._workers.run(lambda: examples.moved(queries, given, request.feedback, space))
        left_out = np.repeat(ids[None], len(moved.vectors), axis=0)
        return moved, left_out if moved.own is None else np.column_stack([moved.own, left_out])

    async def _in_groups(
        self,
        snapshot: Snapshot,
        task: SearchTask,
        queries: Queries,
        spec: ReplySpec,
        filtered: FilterResult | None,
        deadline: float | None,
        watch: Stopwatch,
    ) -> bytes:
        """Return the reply of a search with grouped neighbors."""
        asked = time.perf_counter()
        found = await self._grouped.find(snapshot, task, queries, spec, filtered, deadline)
        took = time.perf_counter() - asked
        watch.resolve_us, watch.search_us = queries.resolve_us, round(took * 1e6)
        searched = record.stage("search", asked, took)
        reply = await self._written(task, lambda: found.flat, spec, watch)
        record.stage("lookup", searched, watch.lookup_us / 1e6)
        groups = search_pb2.Neighbors(group_counts=spec.spread(found.group_counts), group_sizes=found.group_sizes)
        behind = search_pb2.SearchResponse(neighbors=groups).SerializeToString()
        behind += _rest(snapshot, task, queries, found.hits, len(queries.vectors), filtered, watch)
        return await self._workers.run_lookup(lambda: reply + behind, len(reply) // _PER_ITEM)

    async def _filtered(self, snapshot: Snapshot, space: Space, request: search_pb2.SearchRequest) -> FilterResult:
        """Return the result of a call's filter in a space."""
        began = time.perf_counter()
        found = await filtering.matches_of(snapshot, request.filter, self._workers)
        matches = found.matches
        mask = matches.masks.get(space.name)
        if mask is None:
            mask = await self._workers.run(lambda: snapshot.filters.mask(matches, space.name, space.mask))
        record.stage("filter", began, time.perf_counter() - began)
        return FilterResult(found, mask)

    async def _written(self, task: SearchTask, make: Callable[[], Flat], spec: ReplySpec, watch: Stopwatch) -> bytes:
        """Write a large reply, or one with further columns, off the event loop."""
        began = time.perf_counter()

        def written() -> bytes:
            found = make()
            reply = write_large(task.space.images, found, spec)
            if task.columns is not None:
                more = search_pb2.SearchResponse()
                task.columns.put(more.neighbors, found.rows)
                reply += more.SerializeToString()
            return fitting(reply, self._limits)

        reply = await self._workers.run(written, spec.queries)
        watch.lookup_us = round((time.perf_counter() - began) * 1e6)
        return reply


def _flat(task: SearchTask, hits: Hits, spec: ReplySpec) -> Flat:
    """Return the neighbors of hits within the largest distance."""
    if task.farthest < math.inf:
        hits = hits._replace(rows=np.where(hits.distances <= np.float32(task.farthest), hits.rows, -1))
    return flat(task.space.images, hits, spec)


def _rest(
    snapshot: Snapshot,
    task: SearchTask,
    queries: Queries,
    hits: Hits,
    batch_size: int,
    filtered: FilterResult | None,
    watch: Stopwatch,
) -> bytes:
    """Return what follows the neighbors in a reply: `served`, the metric, and the failed rows."""
    # Filled in place, because a constructor copies the messages it is given.
    rest = search_pb2.SearchResponse(metric=METRICS[task.space.engine.entry.metric])
    last, space = rest.served, task.space
    put_served(last, snapshot, space, watch, hits.device)
    exact = task.plan.exact or hits.scanned
    last.nprobe = 0 if exact else hits.nprobe
    last.expected_recall = 1 if exact else task.plan.expected_recall
    last.batch_size = batch_size
    last.index = space.engine.entry.name
    last.notes.extend(visible.texts(space.notes))
    if filtered is not None or task.request.explain:
        put_plan(last.plan, space, hits, exact, filtered)
    rest.errors.extend(row_errors(queries.failed))
    behind: bytes = rest.SerializeToString()
    return behind


def _unanswered(snapshot: Snapshot, space: Space, queries: Queries, watch: Stopwatch) -> bytes:
    """Return the reply of a call none of whose queries has a vector."""
    watch.resolve_us = queries.resolve_us
    reply = search_pb2.SearchResponse(errors=row_errors(queries.failed), metric=METRICS[space.engine.entry.metric])
    reply.neighbors.counts.extend([0] * queries.asked)
    put_served(reply.served, snapshot, space, watch)
    return reply.SerializeToString()
