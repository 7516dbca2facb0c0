"""Strategy that takes rows and distances as an index reports them."""

from __future__ import annotations

import math

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors.rounding import to_distance
from lookalike_server.placement.coverage import Coverage
from lookalike_server.placement.devices import GPU_SELECTION
from lookalike_server.placement.facts import Facts
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.sources import MARGIN, Source
from lookalike_server.placement.strategies import RawHits, by_distance, cut_through_a_tie, facts_of, padded

# If an index cannot filter, it is asked for this many times the neighbors expected to contain enough matches.
_FETCHED = 2
# Matches are rare near a query if their share there is below this fraction of their overall share.
_RARE = 0.5


class IndexDistances:
    """Rows and distances as an index reports them. Ties at the k-th place are searched for.

    An unknown index may ignore masks, so more neighbors are fetched and those that do not match are
    dropped. If matches are few, or rare near the query, nothing is returned, and the caller must
    compare them all.
    """

    depends_on_k = False

    def __init__(
        self,
        source: Source,
        metric: Metric,
        nlist: int,
        max_selection: int | None,
        coverage: Coverage | None = None,
    ) -> None:
        self._coverage = coverage
        self._source = source
        self._metric: Metric = metric
        self._nlist = nlist
        self._max_selection = max_selection

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None = None) -> RawHits:
        if masks is not None and not self._source.filters:
            return self._filtered(queries, k, nprobe, wanted, masks)
        rows, distances, effort, _ = self._filled(queries, k, nprobe, wanted, masks)
        found = padded(rows[:, :k], distances[:, :k], k)
        tied = cut_through_a_tie(rows, distances, k)
        size, most = k + MARGIN, max(k, GPU_SELECTION)
        # Among equal rows an index keeps arbitrary ones. The lowest rows are certain only after all have been seen.
        while len(tied) and self._candidates(size) < self._candidates(most):
            size = min(4 * size, most)
            again = np.ascontiguousarray(queries[tied])
            some = None if masks is None else masks.at(tied)
            rows, distances, effort[tied], _ = self._filled(again, size - MARGIN, nprobe, wanted[tied], some)
            found[0][tied], found[1][tied] = rows[:, :k], distances[:, :k]
            tied = tied[cut_through_a_tie(rows, distances, k)]
        return RawHits(*found, effort, facts_of(None, masks))

    def _filtered(self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks) -> RawHits:
        rows, distances = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
        effort, facts = np.zeros(len(queries), np.int64), Facts.alike("over-fetch", len(queries))
        most = max(k, GPU_SELECTION)
        for mask, lines in masks.groups():
            around = math.ceil(_FETCHED * (k + MARGIN) / max(mask.share, 1e-9))
            size = self._candidates(around)
            if size < min(around, self._source.ntotal) or around > max(most, self._source.ntotal):
                continue
            lists = self._lists_around(around, k, nprobe)
            some = np.ascontiguousarray(queries[lines])
            near, costs = self._source.near(some, size, lists, None, masks.at(lines))
            there = near >= 0
            facts.local[lines], effort[lines] = there.mean(axis=1), lists
            near, away = by_distance(near, to_distance(costs, self._metric))
            near, away = padded(near[:, :k], away[:, :k], k)
            # Rare near the query: matches may also lie beyond what was fetched.
            rare = (there.mean(axis=1) < _RARE * mask.share) & (size < self._source.ntotal)
            near[rare], away[rare] = -1, np.inf
            rows[lines], distances[lines] = near, away
        return RawHits(rows, distances, effort, facts)

    def _lists_around(self, around: int, k: int, nprobe: int) -> int:
        """Return how many lists hold the share of this neighborhood that `nprobe` lists hold of k neighbors."""
        most = min(self._nlist, self._max_selection or self._nlist)
        if not nprobe:
            return 0
        if self._coverage is None:
            return most
        needed = self._coverage.expected(k, nprobe).needed
        return min(most, math.ceil(np.interp(math.log(around), self._coverage.log_sizes, needed)))

    def _filled(self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None = None) -> RawHits:
        """Return candidates for k. Doubles the lists of queries that found fewer than `wanted`."""
        candidates = self._candidates(k + MARGIN)
        probes = self._source.probes(queries, nprobe, wanted, precise=True, masks=masks)
        rows, distances = self._near(queries, candidates, nprobe, probes, masks)
        if probes is not None:
            return RawHits(rows, distances, probes.counts, probes.facts)
        effort = np.full(len(queries), nprobe, np.int64)
        most = min(self._nlist, self._max_selection or self._nlist)
        needs = np.minimum(wanted, candidates)
        while nprobe < most and len(short := np.flatnonzero((rows >= 0).sum(axis=1) < needs)):
            nprobe = effort[short] = min(max(1, 2 * nprobe), most)
            again = np.ascontiguousarray(queries[short])
            rows[short], distances[short] = self._near(again, candidates, nprobe, None, None)
        return RawHits(rows, distances, effort)

    def _near(
        self, queries: Float32, candidates: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None
    ) -> tuple[Int64, Float32]:
        rows, costs = self._source.near(queries, candidates, nprobe, probes, masks)
        return by_distance(rows, to_distance(costs, self._metric))

    def _candidates(self, wanted: int) -> int:
        """Return how many candidates to request from the index."""
        # Requesting more than exist would return -1 anyway, and use up a GPU's scratch memory.
        return min(wanted, self._source.ntotal, self._max_selection or wanted)
