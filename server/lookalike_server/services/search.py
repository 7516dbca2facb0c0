"""Top-k similarity search."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from lookalike.v1 import search_pb2, search_pb2_grpc, types_pb2
from lookalike_server.current import Current
from lookalike_server.effort import Effort, Plan
from lookalike_server.engine import Hits
from lookalike_server.errors import ArgumentError
from lookalike_server.limits import Limits
from lookalike_server.neighbors import Found, neighbor_bytes, neighbors
from lookalike_server.observe import record
from lookalike_server.observe.audit import AuditEffort, RecallAudit, Sample
from lookalike_server.queries import Resolver
from lookalike_server.replies import Stopwatch, deadline_of, served
from lookalike_server.snapshot import Snapshot
from lookalike_server.spaces import Space
from lookalike_server.workers import Workers

Float32 = npt.NDArray[np.float32]


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    def __init__(
        self, current: Current, limits: Limits, resolver: Resolver, workers: Workers, audit: RecallAudit | None = None
    ) -> None:
        self._current = current
        self._workers = workers
        self._audit = audit
        self._limits = limits
        self._resolver = resolver

    async def Search(self, request: search_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """A SearchResponse, or the bytes of a large one."""
        with self._current.lease() as snapshot:
            return await self._search(snapshot, request, deadline_of(context))

    async def _search(
        self, snapshot: Snapshot, request: search_pb2.SearchRequest, deadline: float | None
    ) -> search_pb2.SearchResponse | bytes:
        watch = Stopwatch()
        if not 1 <= request.k <= self._limits.max_k:
            raise ArgumentError("k", f"k is {request.k}; it must be 1 to {self._limits.max_k}.")
        space = snapshot.space(request.space)
        plan = space.planner.plan(_effort(request), self._limits)
        queries = await self._resolver.vectors(snapshot, space, request.query, deadline)
        own = None if request.include_self else queries.own
        asked = time.perf_counter()
        answer = await space.engine.search(queries.vectors, request.k + (own is not None), plan, deadline)
        if self._audit and not plan.exact:
            self._offer(self._audit, snapshot, space, queries.vectors, answer.result, request, plan)
        taken = record.stage("queue", asked, answer.queue_us / 1e6)
        record.stage("search", taken, answer.run_us / 1e6)
        watch.resolve_us, watch.queue_us, watch.search_us = queries.resolve_us, answer.queue_us, answer.run_us
        reply = served(snapshot, space, watch, answer.result.device)
        reply.nprobe = 0 if plan.exact else plan.nprobe
        reply.expected_recall = plan.expected_recall
        reply.batch_size = answer.size
        found = Found.of(answer.result, space.ids, own, request.k)
        looked_up = time.perf_counter()
        if found.is_large(request.fields):
            columns, fields = snapshot.columns, request.fields
            pieces = await self._workers.run(lambda: neighbor_bytes(columns, found, fields), len(queries.vectors))
            _looked_up(looked_up, watch, reply)
            return pieces + search_pb2.SearchResponse(served=reply).SerializeToString()
        near = neighbors(snapshot.columns, found, request.fields)
        _looked_up(looked_up, watch, reply)
        return search_pb2.SearchResponse(neighbors=near, served=reply)

    def _offer(
        self,
        audit: RecallAudit,
        snapshot: Snapshot,
        space: Space,
        vectors: Float32,
        hits: Hits,
        request: search_pb2.SearchRequest,
        plan: Plan,
    ) -> None:
        """Let the audit choose one of the queries of a call."""
        chosen = audit.chosen(len(vectors))
        if chosen is not None:
            kind = request.WhichOneof("effort")
            effort: AuditEffort = "nprobe" if kind == "nprobe" else "recall" if kind == "recall" else "default"
            sample = Sample(
                snapshot.reader, space.engine.entry, vectors[chosen], hits.rows[chosen], effort, plan.expected_recall
            )
            audit.offer(sample)


def _effort(request: search_pb2.SearchRequest) -> Effort:
    kind = request.WhichOneof("effort")
    return Effort(
        exact=kind == "exact" and request.exact,
        nprobe=request.nprobe if kind == "nprobe" else None,
        recall=request.recall if kind == "recall" else None,
    )


def _looked_up(started: float, watch: Stopwatch, reply: types_pb2.Served) -> None:
    took = time.perf_counter() - started
    record.stage("lookup", started, took)
    watch.lookup_us = round(took * 1e6)
    reply.timings.CopyFrom(watch.timings())
