"""From candidates to neighbours whose order depends on the query and the index alone.

`Compared`: the index holds vectors or codes that decode to some, so candidates
are compared again in float64, and none is missed by rounding. `Refined`: quick
codes find candidates and finer codes order them. `AsFound`: distances are the
index's own.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing import rowwise
from lookalike_indexer.indexing.rounding import largest_cost, score_error, to_distance
from lookalike_indexer.indexing.rowwise import Float64
from lookalike_server.placement.devices import GPU_SELECTION
from lookalike_server.placement.held import Held
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.sources import HARDEST, MARGIN, GraphSource, RangeSource, Source

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

# Candidates of quick codes that are looked at again, where copies tie.
_MOST_REFINED = 2048


class Found(NamedTuple):
    """Rows and distances (n, k), nearest first, ties by row; row -1 at infinity where fewer were found.

    `effort` (n,) is the number of lists that each query visited, of a graph its efSearch, 0 of others.
    """

    rows: Int64
    distances: Float32
    effort: Int64


class Strategy(Protocol):
    """How one kind of index is searched. `wanted` (n,) is what each query needs, at most k."""

    # Whether the answer to a query depends on the k of the search, so that only equal ones may share a call.
    depends_on_k: bool

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64) -> Found: ...


class Compared:
    """All that are as near as the k-th are known, and compared in float64."""

    depends_on_k = False

    def __init__(self, source: RangeSource, held: Held, metric: Metric) -> None:
        self._source = source
        self._held = held
        self._metric: Metric = metric

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64) -> Found:
        probes = self._source.probes(queries, nprobe, wanted, precise=False)
        candidates = min(k + MARGIN, self._source.ntotal)
        rows, costs = self._source.near(queries, candidates, nprobe, probes)
        beyond = costs[:, -1].astype(np.float64)
        rows, distances = by_distance(rows, self._held.distances(queries, rows))
        rows, distances = padded(rows[:, :k], distances[:, :k], k)
        if candidates < self._source.ntotal:
            self._complete(queries, rows, distances, beyond, probes)
        return Found(rows, distances, np.zeros(len(rows), np.int64) if probes is None else probes.counts)

    def _complete(
        self, queries: Float32, rows: Int64, distances: Float32, beyond: Float64, probes: Probes | None
    ) -> None:
        """Search again where what was not found, at costs from `beyond` (n,) on, may be as near as the k-th."""
        # Where fewer candidates were found than asked for, there are no others.
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
        within = self._source.within(some, limits, None if probes is None else probes.of(lines))
        for line, found, away in zip(lines, within, self._held.among(some, within), strict=True):
            order = _nearest(found, away, rows.shape[1])
            rows[line, : len(order)], distances[line, : len(order)] = found[order], away[order]


class Graph:
    """What a graph finds, compared in float64. It may miss some, and of equal ones it finds any."""

    depends_on_k = True

    def __init__(self, source: GraphSource, held: Held) -> None:
        self._source = source
        self._held = held

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64) -> Found:
        total = self._source.ntotal
        candidates = min(k + MARGIN, total)
        rows, _ = self._source.near(queries, candidates, nprobe, None)
        least = max(nprobe, candidates)
        effort = np.full(len(queries), least, np.int64)
        needs = np.minimum(wanted, total)
        while len(short := np.flatnonzero(((rows >= 0).sum(axis=1) < needs) & (effort < least * HARDEST))):
            effort[short] *= 2
            harder = int(effort[short[0]])
            rows[short] = self._source.near(np.ascontiguousarray(queries[short]), candidates, harder, None)[0]
        rows, distances = by_distance(rows, self._held.distances(queries, rows))
        return Found(*padded(rows[:, :k], distances[:, :k], k), effort)


class Refined:
    """The `factor` * k best by quick codes, but `least` of them, put in order by what finer codes decode to."""

    depends_on_k = True

    def __init__(self, source: Source, held: Held, factor: float, least: int = 1) -> None:
        self._source = source
        self._held = held
        self._factor = max(1.0, factor)
        self._least = least

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64) -> Found:
        # Precise: scores of the quick codes begin with those of the lists.
        probes = self._source.probes(queries, nprobe, wanted, precise=True)
        candidates = min(max(math.ceil(k * self._factor), self._least), self._source.ntotal)
        rows, distances = self._refined(queries, k, candidates, nprobe, probes)
        found = padded(rows[:, :k], distances[:, :k], k)
        tied = cut_through_a_tie(rows, distances, k)
        most = min(self._source.ntotal, max(candidates, _MOST_REFINED))
        # More copies than the quick codes were asked for: those of the lowest rows may not be among them.
        while len(tied) and candidates < most:
            candidates = min(4 * candidates, most)
            theirs = None if probes is None else probes.of(tied)
            rows, distances = self._refined(np.ascontiguousarray(queries[tied]), k, candidates, nprobe, theirs)
            found[0][tied], found[1][tied] = rows[:, :k], distances[:, :k]
            tied = tied[cut_through_a_tie(rows, distances, k)]
        return Found(*found, np.full(len(queries), nprobe) if probes is None else probes.counts)

    def _refined(
        self, queries: Float32, k: int, candidates: int, nprobe: int, probes: Probes | None
    ) -> tuple[Int64, Float32]:
        """The candidates of the quick codes; at infinity those that are certainly not among the k nearest."""
        rows, _ = self._source.near(queries, candidates, nprobe, probes)
        return by_distance(rows, self._held.nearest(queries, rows, k))


class AsFound:
    """Rows and distances as an index gives them. Copies that tie at the k-th place are looked for."""

    depends_on_k = False

    def __init__(self, source: Source, metric: Metric, nlist: int, max_selection: int | None) -> None:
        self._source = source
        self._metric: Metric = metric
        self._nlist = nlist
        self._max_selection = max_selection

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64) -> Found:
        rows, distances, effort = self._filled(queries, k, nprobe, wanted)
        found = padded(rows[:, :k], distances[:, :k], k)
        tied = cut_through_a_tie(rows, distances, k)
        size, most = k + MARGIN, max(k, GPU_SELECTION)
        # Of equals, an index keeps whichever it likes: those of the lowest rows are known when all have been seen.
        while len(tied) and self._candidates(size) < self._candidates(most):
            size = min(4 * size, most)
            again = np.ascontiguousarray(queries[tied])
            rows, distances, effort[tied] = self._filled(again, size - MARGIN, nprobe, wanted[tied])
            found[0][tied], found[1][tied] = rows[:, :k], distances[:, :k]
            tied = tied[cut_through_a_tie(rows, distances, k)]
        return Found(*found, effort)

    def _filled(self, queries: Float32, k: int, nprobe: int, wanted: Int64) -> Found:
        """Candidates for k, from twice as many lists where there were fewer than `wanted`."""
        candidates = self._candidates(k + MARGIN)
        probes = self._source.probes(queries, nprobe, wanted, precise=True)
        rows, distances = self._near(queries, candidates, nprobe, probes)
        if probes is not None:
            return Found(rows, distances, probes.counts)
        effort = np.full(len(queries), nprobe, np.int64)
        most = min(self._nlist, self._max_selection or self._nlist)
        needs = np.minimum(wanted, candidates)
        while nprobe < most and len(short := np.flatnonzero((rows >= 0).sum(axis=1) < needs)):
            nprobe = effort[short] = min(max(1, 2 * nprobe), most)
            again = np.ascontiguousarray(queries[short])
            rows[short], distances[short] = self._near(again, candidates, nprobe, None)
        return Found(rows, distances, effort)

    def _near(self, queries: Float32, candidates: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
        rows, costs = self._source.near(queries, candidates, nprobe, probes)
        return by_distance(rows, to_distance(costs, self._metric))

    def _candidates(self, wanted: int) -> int:
        """How many of those wanted to ask the index for."""
        # More than there are would come back as -1 anyway, and costs a GPU's scratch memory.
        return min(wanted, self._source.ntotal, self._max_selection or wanted)


def _nearest(rows: Int64, distances: Float32, k: int) -> Int64:
    """The places of the k nearest of some rows (n,), by (distance, row), without sorting all of them."""
    chosen = np.arange(len(rows))
    if len(rows) > k:
        last = np.partition(distances, k - 1)[k - 1]
        nearer, tied = np.flatnonzero(distances < last), np.flatnonzero(distances == last)
        lowest = np.argpartition(rows[tied], k - len(nearer) - 1)[: k - len(nearer)]
        chosen = np.concatenate([nearer, tied[lowest]])
    order: Int64 = chosen[np.lexsort((rows[chosen], distances[chosen]))]
    return order


def by_distance(rows: Int64, distances: Float32) -> tuple[Int64, Float32]:
    """Each line by (distance, row). Places that were not filled have distance infinity and stay at the end."""
    order = np.lexsort((rows, distances), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def cut_through_a_tie(rows: Int64, distances: Float32, k: int) -> Int64:
    """The lines whose last candidate is as near as the k-th, so that more such may not have been seen."""
    if rows.shape[1] <= k:
        return np.empty(0, np.int64)
    return np.flatnonzero((rows[:, -1] >= 0) & (distances[:, -1] == distances[:, k - 1]))


def padded(rows: Int64, distances: Float32, k: int) -> tuple[Int64, Float32]:
    """With row -1 at infinity, up to k places."""
    missing = k - rows.shape[1]
    if missing <= 0:
        return rows, distances
    return (
        np.pad(rows, ((0, 0), (0, missing)), constant_values=-1),
        np.pad(distances, ((0, 0), (0, missing)), constant_values=np.inf),
    )
