"""ClusterService: the clusters of images, and their members."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from lookalike import wire
from lookalike.v1 import cluster_pb2, cluster_pb2_grpc, types_pb2
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.collection.commands import command, instead
from lookalike_indexer.errors import NotBuiltError
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.clusterings import Clustering
from lookalike_server.columns.space_images import Texts
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.filters.match_cache import Matches
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.query.queries import Resolver, count_of
from lookalike_server.query.query_vectors import Queries, row_errors, with_directions
from lookalike_server.services import filtering, replies
from lookalike_server.services.filtering import RequestedColumns, fitting
from lookalike_server.services.pagination import Pager, sequence_of
from lookalike_server.services.replies import METRICS, Stopwatch, deadline_of, served
from lookalike_server.services.request_checks import check_names, check_reply


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    def __init__(self, current: Current, limits: Limits, resolver: Resolver, workers: Workers) -> None:
        self._current = current
        self._limits = limits
        self._resolver = resolver
        self._workers = workers

    async def GetMembership(
        self, request: cluster_pb2.GetMembershipRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized GetMembershipResponse."""
        watch = Stopwatch()
        if not 0 <= request.members <= self._limits.max_members:
            raise ArgumentError("members", f"members is {request.members}; it must be 0 to {self._limits.max_members}.")
        check_names("clusterings", request.clusterings, self._limits)
        with self._current.lease() as snapshot:
            shown = await self._shown(snapshot, request)
            if self._resolver.checked_kind(request.query) in ("keys", "ids"):
                clusterings = _some(
                    snapshot, _named(snapshot, request.clusterings) or list(snapshot.clusterings.values())
                )
                self._check_size(snapshot, request, clusterings)
                return await self._workers.run(lambda: self._stored(snapshot, request, clusterings, shown, watch))
            return await self._new(snapshot, request, deadline_of(context), shown, watch)

    def _stored(
        self,
        snapshot: Snapshot,
        request: cluster_pb2.GetMembershipRequest,
        clusterings: list[Clustering],
        shown: _ReplyParts,
        watch: Stopwatch,
    ) -> bytes:
        ids, failed = self._resolver.stored(snapshot, request.query, request.row_errors)
        assigned = [one.stored(ids) for one in clusterings]
        written = _written(snapshot, None, clusterings, assigned, shown, watch)
        behind = cluster_pb2.GetMembershipResponse(errors=row_errors(failed)).SerializeToString()
        return fitting(written + behind, self._limits)

    async def _shown(
        self, snapshot: Snapshot, request: cluster_pb2.GetMembershipRequest | cluster_pb2.ListMembersRequest
    ) -> _ReplyParts:
        matches = None
        if request.HasField("filter"):
            matches = (await filtering.matches_of(snapshot, request.filter, self._workers)).matches
        members = request.members if isinstance(request, cluster_pb2.GetMembershipRequest) else 0
        return _ReplyParts(matches, RequestedColumns.of(snapshot, request.fields, self._limits), members)

    async def _new(
        self,
        snapshot: Snapshot,
        request: cluster_pb2.GetMembershipRequest,
        deadline: float | None,
        shown: _ReplyParts,
        watch: Stopwatch,
    ) -> bytes:
        space = snapshot.space(request.space)
        clusterings = _of_space(snapshot, space, request.clusterings)
        self._check_size(snapshot, request, clusterings)
        queries = await self._resolver.vectors(snapshot, space, request.query, deadline, request.row_errors)
        watch.resolve_us = queries.resolve_us
        if any(one.entry.metric == "cosine" for one in clusterings):
            queries = with_directions(queries, request.query, request.row_errors)

        def serialized() -> bytes:
            assigned = [_spread(one.assigned(queries.vectors), queries) for one in clusterings]
            written = _written(snapshot, space, clusterings, assigned, shown, watch)
            behind = cluster_pb2.GetMembershipResponse(errors=row_errors(queries.failed)).SerializeToString()
            return fitting(written + behind, self._limits)

        return await self._workers.run(serialized, len(queries.vectors))

    def _check_size(
        self, snapshot: Snapshot, request: cluster_pb2.GetMembershipRequest, clusterings: list[Clustering]
    ) -> None:
        queries = count_of(request.query) * len(clusterings)
        texts = Texts(keys=True, labels=True)
        check_reply(snapshot.columns, queries, request.members, texts, self._limits, "members")

    async def ListMembers(
        self, request: cluster_pb2.ListMembersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized ListMembersResponse."""
        watch = Stopwatch()
        with self._current.lease(sequence_of(request.page_token)) as snapshot:
            clustering = snapshot.clustering(request.clustering)
            if not 0 <= request.cluster < clustering.entry.k:
                raise ArgumentError(
                    "cluster",
                    f"cluster is {request.cluster}; {clustering.name} has clusters 0 to {clustering.entry.k - 1}.",
                )
            shown = await self._shown(snapshot, request)
            named = f"members/{clustering.name}/{request.cluster}"
            rows = clustering.rows_of(request.cluster)
            if shown.matches is not None:
                there = filtering.matching(snapshot, clustering, shown.matches)
                rows = await self._workers.run(lambda: there.rows_of(request.cluster))
                named += f"/{shown.matches.meaning}"
            total = len(rows)
            pager = Pager(snapshot.generation, f"{snapshot.name}/{named}", snapshot.sequence)
            page = pager.page(request.page_token, request.page_size, total, self._limits)
            if page.stop < page.total:
                self._current.retain(snapshot)

            def serialized() -> bytes:
                members = clustering.at(rows[page.start : page.stop])
                return fitting(
                    cluster_pb2.ListMembersResponse(
                        members=replies.members(snapshot.columns, members, shown.asked.of_rows),
                        total=total,
                        next_page_token=pager.token_after(page),
                        metric=METRICS[clustering.entry.metric],
                        served=_served(snapshot, clustering, watch),
                    ).SerializeToString(),
                    self._limits,
                )

            length = page.stop - page.start
            return await (
                self._workers.run(serialized) if shown.asked else self._workers.run_lookup(serialized, length)
            )

    async def ListClusters(
        self, request: cluster_pb2.ListClustersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Return a serialized ListClustersResponse."""
        watch = Stopwatch()
        with self._current.lease() as snapshot:
            clustering = snapshot.clustering(request.clustering)
            matches = None
            if request.HasField("filter"):
                matches = (await filtering.matches_of(snapshot, request.filter, self._workers)).matches

            def serialized() -> bytes:
                there = filtering.matching(snapshot, clustering, matches)
                # The mean distances are computed on first use, from all images.
                return cluster_pb2.ListClustersResponse(
                    sizes=wire.encode(there.sizes),
                    mean_distances=wire.encode(there.mean_distances),
                    metric=METRICS[clustering.entry.metric],
                    served=_served(snapshot, clustering, watch),
                ).SerializeToString()

            return await self._workers.run(serialized)


@dataclass(frozen=True)
class _ReplyParts:
    """Parts of clusters that a call requests: the matches of its filter, columns, and the number of members."""

    matches: Matches | None
    asked: RequestedColumns
    members: int


def _notes(snapshot: Snapshot, names: Iterable[str]) -> list[str]:
    """Return a sentence for each clustering that lacks images of its space."""
    return [note for name in names if (note := snapshot.clustering_notes[name])]


def _served(snapshot: Snapshot, clustering: Clustering, watch: Stopwatch) -> types_pb2.Served:
    space = snapshot.space(clustering.entry.space)
    return served(snapshot, space, watch, _notes(snapshot, [clustering.name]))


def _written(
    snapshot: Snapshot,
    space: Space | None,
    clusterings: list[Clustering],
    found: list[AssignedVectors],
    shown: _ReplyParts,
    watch: Stopwatch,
) -> bytes:
    """Serialize a GetMembershipResponse. Run it in a worker thread.

    The clusterings are serialized one after another: concatenated messages parse as one, and no
    step holds the GIL for all of them.
    """
    pieces = [
        cluster_pb2.GetMembershipResponse(memberships=[_membership(snapshot, one, assigned, shown)]).SerializeToString()
        for one, assigned in zip(clusterings, found, strict=True)
    ]
    notes = _notes(snapshot, [one.name for one in clusterings])
    last = cluster_pb2.GetMembershipResponse(served=served(snapshot, space, watch, notes))
    return b"".join([*pieces, last.SerializeToString()])


def _named(snapshot: Snapshot, names: Iterable[str]) -> list[Clustering]:
    # Each only once, however often it is named, so that the cost of a call is bounded.
    return [snapshot.clustering(name) for name in dict.fromkeys(names)]


def _some(snapshot: Snapshot, clusterings: list[Clustering], space: str = "") -> list[Clustering]:
    if not clusterings:
        there = {entry.space for entry in snapshot.reader.manifest.clusterings.values()}
        where = f" in the space {space}" if space else ""
        raise NotBuiltError(
            f"The collection {snapshot.name} has no clustering{where}; make one with: "
            f"{command('cluster', snapshot.reader.storage.location, *(['--space', space] if space else []))}"
            f"{instead('name a space that has one', there)}"
        )
    return clusterings


def _of_space(snapshot: Snapshot, space: Space, names: Iterable[str]) -> list[Clustering]:
    """Return the clusterings in which vectors of a space can be assigned."""
    named = _named(snapshot, names)
    for one in named:
        if one.entry.space != space.name:
            raise ArgumentError(
                "clusterings",
                f"The clustering {one.name} belongs to the space {one.entry.space}, the query to {space.name}.",
            )
    all_there = [one for one in snapshot.clusterings.values() if one.entry.space == space.name]
    return _some(snapshot, named or all_there, space.name)


def _spread(assigned: AssignedVectors, queries: Queries) -> AssignedVectors:
    """Return the assignment of all requested queries. A failed query is in no cluster."""
    if not queries.failed:
        return assigned
    clusters = np.full(queries.asked, -1, assigned.clusters.dtype)
    distances, margins = np.full((2, queries.asked), np.nan, np.float32)
    clusters[queries.rows] = assigned.clusters
    distances[queries.rows], margins[queries.rows] = assigned.distances, assigned.margins
    return AssignedVectors(clusters, distances, margins)


def _membership(
    snapshot: Snapshot, clustering: Clustering, assigned: AssignedVectors, shown: _ReplyParts
) -> cluster_pb2.Membership:
    there = filtering.matching(snapshot, clustering, shown.matches)
    nearest = [there.members(cluster, 0, shown.members) for cluster in assigned.clusters.tolist()]
    return cluster_pb2.Membership(
        clustering=clustering.name,
        clusters=wire.encode(assigned.clusters),
        distances=wire.encode(assigned.distances),
        margins=wire.encode(assigned.margins),
        sizes=wire.encode(there.sizes_of(assigned.clusters)),
        nearest=[replies.members(snapshot.columns, found, shown.asked.of_rows) for found in nearest],
        metric=METRICS[clustering.entry.metric],
    )
