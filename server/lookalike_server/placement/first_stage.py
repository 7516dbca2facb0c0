"""Candidates of a first stage: the rows of least cost, with a deterministic order of equal ones.

Quick codes often give several rows the same cost. The choice between them must not depend on the
order in which an index holds them, nor on how it is spread over machines.
"""

from __future__ import annotations

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_server.placement.graph_source import GraphSource
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.projected_source import TwoStageSource, kept_of
from lookalike_server.placement.sources import MARGIN, Source

# Largest number of rows to examine if they tie at the last place.
_MOST_TIED = 4096


def first_stage(
    source: Source, queries: Float32, size: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None
) -> tuple[Int64, Float32]:
    """Return the `size` rows (n, size) of least cost and their costs, ascending, equal ones by row.

    If there are fewer, rows end with -1 at infinity.
    """
    total = source.ntotal
    if isinstance(source, TwoStageSource) and masks is not None:
        return first_stage(source.first, queries, size, nprobe, probes, masks)
    # A graph finds other rows if more are requested, and faiss's own second stage has already ordered its rows.
    given = isinstance(source, (GraphSource, TwoStageSource))
    if given or size >= total:
        return source.near(queries, min(size, total), nprobe, probes, masks)
    asked = min(size + MARGIN, total)
    rows, costs = _in_order(*source.near(queries, asked, nprobe, probes, masks))
    found, away = rows[:, :size].copy(), costs[:, :size].copy()
    tied = _cut_through_a_tie(costs, size)
    while len(tied) and asked < min(total, max(size, _MOST_TIED)):
        asked = min(4 * asked, total)
        theirs = None if probes is None else probes.of(tied)
        some = None if masks is None else masks.at(tied)
        again = np.ascontiguousarray(queries[tied])
        rows, costs = _in_order(*source.near(again, asked, nprobe, theirs, some))
        found[tied], away[tied] = rows[:, :size], costs[:, :size]
        tied = tied[_cut_through_a_tie(costs, size)]
    return found, away


def best_candidates(
    source: TwoStageSource, queries: Float32, k: int, size: int, nprobe: int, probes: Probes | None, masks: QueryMasks
) -> Int64:
    """Return the rows (n, kept) that the second stage finds best among the `size` candidates of each query.

    It keeps as many as for a query without a mask. If matches are few for k neighbors, all of them are candidates.
    """
    # An index of few rows has fewer candidates than four times k.
    kept = min(max(kept_of(size), k + MARGIN), size)
    candidates: list[Int64] = [mask.rows for mask in masks.by_query()]
    lines = np.flatnonzero(~source.compares(masks, k))
    if len(lines):
        all_lines = len(lines) == len(queries)
        some = queries if all_lines else np.ascontiguousarray(queries[lines])
        theirs = probes if probes is None or all_lines else probes.of(lines)
        rows, _ = first_stage(source, some, size, nprobe, theirs, masks if all_lines else masks.at(lines))
        # Ascending, because the lower of two equal rows counts.
        rows = np.sort(rows, axis=1)
        for line, found in zip(lines.tolist(), rows, strict=True):
            candidates[line] = found[np.searchsorted(found, 0) :]
    return source.best(queries, candidates, kept)


def least(rows: Int64, costs: Float32, size: int) -> Int64:
    """Return the places (n, min(size, m)) of the rows (n, m) of least cost, equal ones by row; row -1 comes last."""
    order: Int64 = np.lexsort((rows, np.where(rows < 0, np.float32(np.inf), costs), rows < 0), axis=1)
    return order[:, :size]


def _in_order(rows: Int64, costs: Float32) -> tuple[Int64, Float32]:
    order = least(rows, costs, rows.shape[1])
    lines = np.arange(len(rows))[:, None]
    return rows[lines, order], costs[lines, order]


def _cut_through_a_tie(costs: Float32, size: int) -> Int64:
    """Return the queries whose last row ties with the last place that counts."""
    if costs.shape[1] <= size:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.isfinite(costs[:, -1]) & (costs[:, -1] == costs[:, size - 1]))
