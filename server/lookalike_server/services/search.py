"""Top-k similarity search."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from lookalike.v1 import search_pb2, search_pb2_grpc
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common import call_record as record
from lookalike_server.common import visible
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.observe.audit import AuditEffort, RecallAudit, Sample
from lookalike_server.query.queries import Resolver, count_of
from lookalike_server.query.resolved import Queries, row_errors, with_directions
from lookalike_server.search.effort import Effort, Plan
from lookalike_server.search.hits import Hits
from lookalike_server.services import filtering
from lookalike_server.services.answering import Answering
from lookalike_server.services.filtering import Asked, fitting
from lookalike_server.services.plans import Filtered, put_plan
from lookalike_server.services.replies import Stopwatch, deadline_of, put_served
from lookalike_server.services.reply_writer import ReplySpec, texts_of, write_large
from lookalike_server.services.request_checks import check_reply

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

# Bytes that cost as much to copy as looking up one image.
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

    async def Search(self, request: search_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """The bytes of a SearchResponse."""
        with self._current.lease() as snapshot:
            return await self._search(snapshot, request, deadline_of(context))

    async def _search(self, snapshot: Snapshot, request: search_pb2.SearchRequest, deadline: float | None) -> bytes:
        watch = Stopwatch()
        if not 1 <= request.k <= self._limits.max_k:
            raise ArgumentError("k", f"k is {request.k}; it must be 1 to {self._limits.max_k}.")
        if request.fields.uris:
            visible.require()
        space = snapshot.space(request.space)
        plan = space.planner.plan(_effort(request), self._limits, request.k)
        self._resolver.checked_kind(request.query)
        texts = texts_of(request.fields)
        check_reply(snapshot.columns, count_of(request.query), request.k, texts, self._limits, "k")
        columns = Asked.of(snapshot, request.fields.attributes, self._limits, "fields.attributes")
        filtered = await self._filtered(snapshot, space, request) if request.HasField("filter") else None
        queries = await self._resolver.vectors(snapshot, space, request.query, deadline, request.row_errors)
        if space.engine.entry.metric == "cosine":
            queries = with_directions(queries, request.query, request.row_errors)
        if not len(queries.vectors):
            return _unanswered(snapshot, space, queries, watch)
        spec = ReplySpec(
            len(queries.vectors),
            request.k,
            None if request.include_self else queries.own,
            texts,
            asked=queries.asked,
            answered=queries.rows if queries.failed else None,
            more=bool(columns),
        )
        asked = time.perf_counter()
        mask = None if filtered is None else filtered.mask
        answer, reply, reply_s = await self._answering.ask(
            space, queries.vectors, queries.distinct, plan, mask, deadline, spec
        )
        hits = answer.result
        if filtered is not None:
            snapshot.filters.keep(filtered.found.matches)
        if self._audit and not plan.exact and not hits.scanned:
            self._offer(self._audit, snapshot, space, queries.vectors, hits, request, plan, mask)
        watch.resolve_us, watch.queue_us = queries.resolve_us, answer.queue_us
        watch.search_us, watch.lookup_us = answer.run_us, round(reply_s * 1e6)
        taken = record.stage("queue", asked, answer.queue_us / 1e6)
        searched = record.stage("search", taken, watch.search_us / 1e6)
        if reply is None:
            reply = await self._written(space, hits, spec, columns, watch)
        record.stage("lookup", searched, watch.lookup_us / 1e6)
        # Filled in place: a message that is given to another one's constructor is copied.
        rest = search_pb2.SearchResponse()
        last = rest.served
        put_served(last, snapshot, space, watch, hits.device)
        exact = plan.exact or hits.scanned
        last.nprobe = 0 if exact else hits.nprobe
        last.expected_recall = 1 if exact else plan.expected_recall
        last.batch_size = answer.size
        last.index = space.engine.entry.name
        last.notes.extend(visible.texts(space.notes))
        if filtered is not None or request.explain:
            put_plan(last.plan, space, hits, exact, filtered)
        rest.errors.extend(row_errors(queries.failed))
        behind = rest.SerializeToString()
        return await self._workers.looked_up(lambda: reply + behind, len(reply) // _PER_ITEM)

    async def _filtered(self, snapshot: Snapshot, space: Space, request: search_pb2.SearchRequest) -> Filtered:
        """What the filter of a call comes to in a space."""
        began = time.perf_counter()
        found = await filtering.found(snapshot, request.filter, self._workers)
        matches = found.matches
        mask = matches.masks.get(space.name)
        if mask is None:
            mask = await self._workers.run(lambda: snapshot.filters.mask(matches, space.name, space.mask))
        record.stage("filter", began, time.perf_counter() - began)
        return Filtered(found, mask)

    async def _written(self, space: Space, hits: Hits, spec: ReplySpec, columns: Asked, watch: Stopwatch) -> bytes:
        """A large reply, or one with further columns, which would hold up the event loop."""
        began = time.perf_counter()
        images = space.images

        def more(rows: Int64) -> bytes:
            values = columns.of_rows(images.image_rows(rows))
            return search_pb2.SearchResponse(neighbors=search_pb2.Neighbors(attributes=values)).SerializeToString()

        def written() -> bytes:
            return fitting(write_large(images, hits, spec, more if columns else None), self._limits)

        reply = await self._workers.run(written, spec.queries)
        watch.lookup_us = round((time.perf_counter() - began) * 1e6)
        return reply

    def _offer(
        self,
        audit: RecallAudit,
        snapshot: Snapshot,
        space: Space,
        vectors: Float32,
        hits: Hits,
        request: search_pb2.SearchRequest,
        plan: Plan,
        mask: RowMask | None,
    ) -> None:
        """Let the audit choose one of the queries of a call."""
        chosen = audit.chosen(len(vectors))
        if chosen is not None:
            kind = request.WhichOneof("effort")
            effort: AuditEffort = "nprobe" if kind == "nprobe" else "recall" if kind == "recall" else "default"
            sample = Sample(
                snapshot.reader,
                space.rows,
                space.engine.entry,
                vectors[chosen],
                hits.rows[chosen],
                effort,
                plan.expected_recall,
                mask,
            )
            audit.offer(sample)


def _unanswered(snapshot: Snapshot, space: Space, queries: Queries, watch: Stopwatch) -> bytes:
    """The reply to a call none of whose queries has a vector."""
    watch.resolve_us = queries.resolve_us
    reply = search_pb2.SearchResponse(errors=row_errors(queries.failed))
    reply.neighbors.counts.extend([0] * queries.asked)
    put_served(reply.served, snapshot, space, watch)
    return reply.SerializeToString()


_DEFAULT = Effort()


def _effort(request: search_pb2.SearchRequest) -> Effort:
    kind = request.WhichOneof("effort")
    if kind is None:
        return _DEFAULT
    return Effort(
        exact=kind == "exact" and request.exact,
        nprobe=request.nprobe if kind == "nprobe" else None,
        recall=request.recall if kind == "recall" else None,
    )
