"""Strategies that turn candidates into neighbors. Their order depends only on the query and the index.

`Compared`: the index holds vectors or codes that decode to vectors. Candidates are compared again
in float64, and rounding loses none. `Graph`: the same for what a graph finds. reranked.py: quick
codes find candidates, and finer codes order them. index_distances.py: distances as the index
reports them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import rowwise
from lookalike_indexer.vectors.rounding import largest_cost, score_error, to_distance
from lookalike_server.placement.decoded_vectors import DecodedVectors
from lookalike_server.placement.facts import Facts
from lookalike_server.placement.facts import Strategy as Kind
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.sources import HARDEST, MARGIN, RangeSource, Source


class RawHits(NamedTuple):
    """Rows and distances (n, k), nearest first, ties by row; missing rows are -1 at infinity.

    `effort` (n,) is the number of lists that each query visited, efSearch for a graph, else 0.
    `facts` is set if queries have masks.
    """

    rows: Int64
    distances: Float32
    effort: Int64
    facts: Facts | None = None


class Strategy(Protocol):
    """Search strategy of one kind of index. `wanted` (n,) is what each query needs, at most k."""

    # True if the answer to a query depends on the k of the search, so that only equal k may share a call.
    depends_on_k: bool

    def search(
        self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None = None
    ) -> RawHits: ...


class Compared:
    """Finds every row as near as the k-th, and compares them in float64."""

    depends_on_k = False

    def __init__(self, source: RangeSource, vectors: DecodedVectors, metric: Metric) -> None:
        self._source = source
        self._vectors = vectors
        self._metric: Metric = metric

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None = None) -> RawHits:
        probes = self._source.probes(queries, nprobe, wanted, precise=False, masks=masks)
        candidates = min(k + MARGIN, self._source.ntotal)
        rows, costs = self._source.near(queries, candidates, nprobe, probes, masks)
        beyond = costs[:, -1].astype(np.float64)
        rows, distances = by_distance(rows, self._vectors.distances(queries, rows))
        rows, distances = padded(rows[:, :k], distances[:, :k], k)
        if candidates < self._source.ntotal:
            self._complete(queries, rows, distances, beyond, probes, masks)
        effort = np.zeros(len(rows), np.int64) if probes is None else probes.counts
        return RawHits(rows, distances, effort, facts_of(probes, masks))

    def _complete(
        self,
        queries: Float32,
        rows: Int64,
        distances: Float32,
        beyond: Float64,
        probes: Probes | None,
        masks: QueryMasks | None,
    ) -> None:
        """Search again for queries whose unseen rows, at costs from `beyond` (n,), may be as near as the k-th."""
        # If fewer candidates were found than requested, there are no others.
        lines = np.flatnonzero(np.isfinite(beyond))
        last = distances[lines, -1]
        norms = np.sqrt(rowwise.squared_norms(queries[lines]))
        error = score_error(queries.shape[1], norms, last, self._metric)
        unsure = to_distance(beyond[lines] - error, self._metric) <= last
        if not unsure.any():
            return
        lines, last, error = lines[unsure], last[unsure], error[unsure]
        limits = largest_cost(last, self._metric) + error
        some = np.ascontiguousarray(queries[lines])
        theirs = None if masks is None else masks.at(lines)
        within = self._source.within(some, limits, None if probes is None else probes.of(lines), theirs)
        for line, found, away in zip(lines, within, self._vectors.among(some, within), strict=True):
            order = _nearest(found, away, rows.shape[1])
            rows[line, : len(order)], distances[line, : len(order)] = found[order], away[order]


class Graph:
    """Results of a graph, compared in float64. It may miss neighbors, and finds arbitrary ones of equal rows."""

    depends_on_k = True

    def __init__(self, source: Source, vectors: DecodedVectors) -> None:
        self._source = source
        self._vectors = vectors

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None = None) -> RawHits:
        total = self._source.ntotal
        candidates = min(k + MARGIN, total)
        if masks is not None:
            probes = self._source.probes(queries, nprobe, wanted, precise=True, masks=masks)
            rows, _ = self._source.near(queries, candidates, nprobe, probes, masks)
            rows, distances = by_distance(rows, self._vectors.distances(queries, rows))
            effort = np.zeros(len(rows), np.int64) if probes is None else probes.counts
            return RawHits(*padded(rows[:, :k], distances[:, :k], k), effort, facts_of(probes, masks))
        rows, _ = self._source.near(queries, candidates, nprobe, None)
        least = max(nprobe, candidates)
        effort = np.full(len(queries), least, np.int64)
        needs = np.minimum(wanted, total)
        while len(short := np.flatnonzero(((rows >= 0).sum(axis=1) < needs) & (effort < least * HARDEST))):
            effort[short] *= 2
            harder = int(effort[short[0]])
            rows[short] = self._source.near(np.ascontiguousarray(queries[short]), candidates, harder, None)[0]
        rows, distances = by_distance(rows, self._vectors.distances(queries, rows))
        return RawHits(*padded(rows[:, :k], distances[:, :k], k), effort)


def facts_of(probes: Probes | None, masks: QueryMasks | None) -> Facts | None:
    """Return how queries with masks were searched. Without a choice, all matches were compared."""
    if masks is None:
        return None
    if probes is not None and probes.facts is not None:
        return probes.facts
    kinds: list[Kind] = ["matches" if count else "none" for count in masks.matches.tolist()]
    return replace(Facts.alike("matches", len(kinds)), strategy=kinds)


def _nearest(rows: Int64, distances: Float32, k: int) -> Int64:
    """Return the places of the k nearest of some rows (n,), by (distance, row), without sorting all of them."""
    chosen = np.arange(len(rows))
    if len(rows) > k:
        last = np.partition(distances, k - 1)[k - 1]
        nearer, tied = np.flatnonzero(distances < last), np.flatnonzero(distances == last)
        lowest = np.argpartition(rows[tied], k - len(nearer) - 1)[: k - len(nearer)]
        chosen = np.concatenate([nearer, tied[lowest]])
    order: Int64 = chosen[np.lexsort((rows[chosen], distances[chosen]))]
    return order


def by_distance(rows: Int64, distances: Float32) -> tuple[Int64, Float32]:
    """Sort each query's rows by (distance, row). Empty places have distance infinity and stay at the end."""
    order = np.lexsort((rows, distances), axis=1)
    if len(rows) == 1:
        return rows.take(order), distances.take(order)
    # As take_along_axis, which takes three times as long for few rows.
    lines = np.arange(len(rows))[:, None]
    return rows[lines, order], distances[lines, order]


def cut_through_a_tie(rows: Int64, distances: Float32, k: int) -> Int64:
    """Return the queries whose last candidate ties with the k-th, so that more such rows may be unseen."""
    if rows.shape[1] <= k:
        return np.empty(0, np.int64)
    same = distances[:, -1] == distances[:, k - 1]
    return np.flatnonzero(same & (rows[:, -1] >= 0)) if same.any() else np.empty(0, np.int64)


def padded(rows: Int64, distances: Float32, k: int) -> tuple[Int64, Float32]:
    """Pad with row -1 at infinity, up to k places."""
    missing = k - rows.shape[1]
    if missing <= 0:
        return rows, distances
    return (
        np.pad(rows, ((0, 0), (0, missing)), constant_values=-1),
        np.pad(distances, ((0, 0), (0, missing)), constant_values=np.inf),
    )
