"""Searches with neighbors grouped by a column. Each query has its own groups, so they run one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Int64
from lookalike_server.batching.workers import Workers
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.query.distinct import Distinct
from lookalike_server.query.query_vectors import Queries
from lookalike_server.search.hits import Hits
from lookalike_server.services.answering import Answering
from lookalike_server.services.grouping import Grouped, Groups, grouped
from lookalike_server.services.plans import FilterResult
from lookalike_server.services.reply_writer import Flat, ReplySpec
from lookalike_server.services.search_task import SearchTask

_ALONE = Distinct([0], [0])


@dataclass(frozen=True)
class GroupedHits:
    """Neighbors of all queries, group after group. `hits` summarizes how all searches were done."""

    flat: Flat
    group_counts: list[int]
    group_sizes: list[int]
    hits: Hits


class GroupedSearch:
    def __init__(self, answering: Answering, workers: Workers, limits: Limits) -> None:
        self._answering, self._workers, self._limits = answering, workers, limits

    async def find(
        self,
        snapshot: Snapshot,
        task: SearchTask,
        queries: Queries,
        spec: ReplySpec,
        filtered: FilterResult | None,
        deadline: float | None,
    ) -> GroupedHits:
        """Return the groups of each query.

        Raises ArgumentError if the column cannot form groups, and the errors of Answering.search.
        """
        by = await self._workers.run(lambda: _by(snapshot, task))
        remaining = task.space.remaining if filtered is None else filtered.mask
        allowed = None if remaining is None else remaining.bools
        every: list[Groups] = []
        searches: list[Hits] = []
        for row, vector in enumerate(queries.vectors):
            left_out = await self._workers.run(lambda row=row: _rows_of(task, spec, row))  # type: ignore[misc]

            async def search(k: int, mask: RowMask, vector: npt.NDArray[np.float32] = vector) -> Hits:
                one = ReplySpec(1, k, None, task.texts, more=True)
                answered = await self._answering.search(
                    task.space, vector[None], _ALONE, task.plan, mask, deadline, one
                )
                return answered.answer.result

            groups, hits = await grouped(search, by, allowed, left_out, self._limits.max_k, self._workers)
            every.append(groups)
            searches += hits
        return _joined(every, searches)


def _by(snapshot: Snapshot, task: SearchTask) -> Grouped:
    """Return the groups of the rows of a space."""
    name = task.request.grouping.column
    try:
        codes, count = snapshot.filters.columns.groups(name)
    except TypeError as error:
        kind = snapshot.filters.columns.kinds[name]
        raise ArgumentError(
            "grouping.column",
            f"The column {name!r} is {kind}; group by a column of string, int64, bool or timestamp.",
        ) from error
    return Grouped(task.space.images.of_images(codes), count, task.request.k, task.per_group, task.farthest)


def _rows_of(task: SearchTask, spec: ReplySpec, query: int) -> Int64:
    """Return the rows of the images to leave out of a query."""
    if spec.own is None:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.isin(task.space.images.ids, spec.own[query]))


def _joined(every: list[Groups], searches: list[Hits]) -> GroupedHits:
    members = [list(groups.members.values()) for groups in every]
    pairs = [pair for groups in members for group in groups for pair in group]
    flat = Flat(
        [sum(map(len, groups)) for groups in members],
        np.array([row for row, _ in pairs], np.int64),
        np.array([distance for _, distance in pairs], np.float32),
    )
    sizes = [len(group) for groups in members for group in groups]
    return GroupedHits(flat, [len(groups) for groups in members], sizes, _summary(searches))


def _summary(searches: list[Hits]) -> Hits:
    """Summarize how several searches were done, as if they were one."""
    if not searches:
        nothing = np.empty((0, 0))
        return Hits(nothing.astype(np.int64), nothing.astype(np.float32), 0, True, "cpu", True)
    return searches[-1]._replace(
        nprobe=max(hits.nprobe for hits in searches), scanned=all(hits.scanned for hits in searches)
    )
