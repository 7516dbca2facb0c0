"""Checked request of a search."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lookalike.v1 import search_pb2
from lookalike_server.columns.space_images import Texts
from lookalike_server.common import visible
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.query import examples
from lookalike_server.query.queries import Resolver, count_of
from lookalike_server.search.effort import Effort, Plan
from lookalike_server.services.filtering import RequestedColumns
from lookalike_server.services.neighbor_columns import NeighborColumns
from lookalike_server.services.reply_writer import texts_of
from lookalike_server.services.request_checks import check_reply

if TYPE_CHECKING:
    from lookalike_server.observe.audit import AuditEffort

_DEFAULT = Effort()


class SearchTask(NamedTuple):
    """A search of a space.

    `queries` is the number of queries; `k` is the neighbors of each, in all its groups together.
    `columns` is None if the reply has only texts. `per_group` is 0 if neighbors are not grouped.
    `farthest` is the largest distance, infinite by default.
    """

    request: search_pb2.SearchRequest
    space: Space
    plan: Plan
    texts: Texts
    columns: NeighborColumns | None
    queries: int
    k: int
    per_group: int
    farthest: float

    @classmethod
    def of(
        cls, request: search_pb2.SearchRequest, snapshot: Snapshot, resolver: Resolver, limits: Limits
    ) -> SearchTask:
        """Check a request. Raises ArgumentError, ForbiddenError, NotFoundError, or NotBuiltError."""
        k, fields = request.k, request.fields
        if not 1 <= k <= limits.max_k:
            raise ArgumentError("k", f"k is {k}; it must be 1 to {limits.max_k}; the server's --max-k sets this.")
        if fields.uris:
            visible.require()
        space = snapshot.space(request.space)
        per_group = _per_group(request, limits) if request.HasField("grouping") else 0
        if per_group:
            k *= per_group
        plan = space.planner.plan(effort_of(request), limits, k)
        queries = 1
        by_examples = request.HasField("feedback")
        if by_examples:
            examples.check(request.feedback, limits, k)
        if not by_examples or request.query.WhichOneof("kind") is not None:
            resolver.checked_kind(request.query)
            queries = count_of(request.query)
        texts = texts_of(fields)
        vector_bytes = 4 * space.entry.dim if fields.vectors else 0
        check_reply(snapshot.columns, queries, k, texts, limits, "k", vector_bytes)
        columns = None
        if vector_bytes or per_group or fields.attributes:
            columns = NeighborColumns(space, _requested_columns(request, snapshot, limits), bool(vector_bytes))
        farthest = _farthest(request) if request.HasField("max_distance") else math.inf
        return cls(request, space, plan, texts, columns, queries, k, per_group, farthest)

    @property
    def is_plain(self) -> bool:
        """True if the reply contains only what is written from the hits of a batch."""
        return self.columns is None and self.farthest == math.inf


def effort_of(request: search_pb2.SearchRequest) -> Effort:
    """Return the search effort that a request asks for."""
    kind = request.WhichOneof("effort")
    if kind is None:
        return _DEFAULT
    return Effort(
        exact=kind == "exact" and request.exact,
        nprobe=request.nprobe if kind == "nprobe" else None,
        recall=request.recall if kind == "recall" else None,
    )


def effort_name(request: search_pb2.SearchRequest) -> AuditEffort:
    """Return the kind of effort of a request, by which the audit groups searches."""
    kind = request.WhichOneof("effort")
    return "nprobe" if kind == "nprobe" else "recall" if kind == "recall" else "default"


def _requested_columns(request: search_pb2.SearchRequest, snapshot: Snapshot, limits: Limits) -> RequestedColumns:
    """Return the requested columns of neighbors, including the one that they are grouped by."""
    if not request.HasField("grouping"):
        return RequestedColumns.of(snapshot, request.fields.attributes, limits, "fields.attributes")
    names = [*request.fields.attributes, request.grouping.column]
    return RequestedColumns.of(snapshot, names, limits, "grouping.column")


def _per_group(request: search_pb2.SearchRequest, limits: Limits) -> int:
    per_group = request.grouping.per_group or 1
    if not request.grouping.column:
        raise ArgumentError("grouping.column", "The call names no column to group by; set grouping.column.")
    if per_group < 1:
        raise ArgumentError("grouping.per_group", f"There must be 1 or more images in a group, not {per_group}.")
    if per_group * request.k > limits.max_k:
        raise ArgumentError(
            "grouping.per_group",
            f"{request.k} groups of {per_group} images are {per_group * request.k} neighbors; the limit is "
            f"{limits.max_k}, which is max_k.",
        )
    return per_group


def _farthest(request: search_pb2.SearchRequest) -> float:
    farthest: float = request.max_distance
    # Written so that NaN is rejected as well.
    if not farthest >= 0:
        raise ArgumentError("max_distance", f"max_distance is {farthest:g}; it must be at least 0.")
    return farthest
