"""Top-k similarity search."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from lookalike import wire
from lookalike.v1 import search_pb2, search_pb2_grpc
from lookalike_server.current import Current
from lookalike_server.effort import Effort, Plan
from lookalike_server.engine import Hits
from lookalike_server.errors import ArgumentError
from lookalike_server.limits import Limits
from lookalike_server.observe import record
from lookalike_server.observe.audit import AuditEffort, RecallAudit, Sample
from lookalike_server.queries import Resolver
from lookalike_server.replies import Stopwatch, deadline_of, served
from lookalike_server.snapshot import Snapshot
from lookalike_server.spaces import Space

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, current: Current, limits: Limits, resolver: Resolver, audit: RecallAudit | None = None) -> None:
        self._current = current
        self._audit = audit
        self._limits = limits
        self._resolver = resolver

    async def Search(
        self, request: search_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> search_pb2.SearchResponse:
        with self._current.lease() as snapshot:
            return await self._search(snapshot, request, deadline_of(context))

    async def _search(
        self, snapshot: Snapshot, request: search_pb2.SearchRequest, deadline: float | None
    ) -> search_pb2.SearchResponse:
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
        looked_up = time.perf_counter()
        neighbors = _neighbors(snapshot, _Columns.of(answer.result, space.ids, own, request.k), request.fields)
        watch.resolve_us, watch.queue_us, watch.search_us = queries.resolve_us, answer.queue_us, answer.run_us
        lookup = time.perf_counter() - looked_up
        record.stage("lookup", looked_up, lookup)
        watch.lookup_us = round(lookup * 1e6)
        reply = served(snapshot, space, watch, answer.result.device)
        reply.nprobe = 0 if plan.exact else plan.nprobe
        reply.expected_recall = plan.expected_recall
        reply.batch_size = answer.size
        return search_pb2.SearchResponse(neighbors=neighbors, served=reply)

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


class _Columns:
    """The neighbours of all queries, one after another."""

    def __init__(self, counts: Int64, ids: Int64, distances: Float32) -> None:
        self.counts = counts
        self.ids = ids
        self.distances = distances

    @classmethod
    def of(cls, hits: Hits, space_ids: Int64, own: Int64 | None, k: int) -> _Columns:
        """At most k of each query's hits, without what was not found and without the query's own image."""
        keep = hits.rows >= 0
        ids = space_ids[hits.rows]
        if own is not None:
            keep &= ids != own[:, None]
            # One more was asked for than is wanted; where the own image was not among them the last one goes.
            keep &= np.cumsum(keep, axis=1) <= k
        return cls(keep.sum(axis=1), ids[keep], hits.distances[keep])


def _neighbors(snapshot: Snapshot, found: _Columns, fields: search_pb2.NeighborFields) -> search_pb2.Neighbors:
    columns = snapshot.columns
    wanted = fields.keys or fields.labels or fields.uris
    rows = columns.rows_of_ids(found.ids) if wanted else found.ids
    return search_pb2.Neighbors(
        counts=found.counts.tolist(),
        ids=wire.encode(found.ids),
        distances=wire.encode(found.distances),
        keys=columns.keys(rows) if fields.keys else (),
        labels=columns.labels(rows) if fields.labels else (),
        uris=columns.uris(rows) if fields.uris else (),
    )
