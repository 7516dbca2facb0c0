"""Strategy in two stages: quick codes find candidates, and finer codes order them."""

from __future__ import annotations

import math

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.indexing.two_stage import SPARE
from lookalike_server.placement.decoded_vectors import DecodedVectors
from lookalike_server.placement.first_stage import best_candidates, first_stage
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.projected_source import TwoStageSource
from lookalike_server.placement.sources import Source
from lookalike_server.placement.strategies import RawHits, by_distance, cut_through_a_tie, facts_of, padded

# Largest number of quick-code candidates to rerank if copies tie.
MOST_REFINED = 2048
# If matches are rare near a query, up to this many times the usual candidates are reranked.
MOST_CANDIDATES = 4


class Reranked:
    """The best `factor` * k candidates by quick codes, at least `least`, ordered by the decoded finer codes."""

    depends_on_k = True

    def __init__(self, source: Source, vectors: DecodedVectors, factor: float, least: int = 1) -> None:
        self._source = source
        self._vectors = vectors
        self._factor = max(1.0, factor)
        self._least = least

    def search(self, queries: Float32, k: int, nprobe: int, wanted: Int64, masks: QueryMasks | None = None) -> RawHits:
        # Precise, because scores of the quick codes start from those of the lists.
        probes = self._source.probes(queries, nprobe, wanted, precise=True, masks=masks)
        effort = np.full(len(queries), nprobe) if probes is None else probes.counts
        if masks is None:
            return RawHits(*self._searched(queries, k, 1, nprobe, probes, None), effort)
        factors = candidates_factor(probes, len(queries))
        different = np.unique(factors).tolist() if len(factors) > 1 else factors.tolist()
        if len(different) == 1:
            found = self._searched(queries, k, different[0], nprobe, probes, masks)
            return RawHits(*found, effort, facts_of(probes, masks))
        rows, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        for more in different:
            lines = np.flatnonzero(factors == more)
            theirs = None if probes is None else probes.of(lines)
            some = np.ascontiguousarray(queries[lines])
            rows[lines], distances[lines] = self._searched(some, k, more, nprobe, theirs, masks.at(lines))
        return RawHits(rows, distances, effort, facts_of(probes, masks))

    def _searched(
        self, queries: Float32, k: int, more: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None
    ) -> tuple[Int64, Float32]:
        """Return the k nearest (n, k) among `more` times as many candidates as usual."""
        usual = max(math.ceil(k * self._factor), self._least)
        if masks is None and isinstance(self._source, TwoStageSource):
            usual = self._source.candidates_for(k, nprobe)
        candidates = min(more * usual, self._source.ntotal)
        rows, distances = self._refined(queries, k, candidates, nprobe, probes, masks)
        found = padded(rows[:, :k], distances[:, :k], k)
        tied = cut_through_a_tie(rows, distances, k)
        most = min(self._source.ntotal, max(candidates, MOST_REFINED))
        # More copies than requested candidates: those of the lowest rows may be missing.
        while len(tied) and candidates < most:
            candidates = min(4 * candidates, most)
            theirs = None if probes is None else probes.of(tied)
            some = None if masks is None else masks.at(tied)
            again = np.ascontiguousarray(queries[tied])
            rows, distances = self._refined(again, k, candidates, nprobe, theirs, some)
            found[0][tied], found[1][tied] = rows[:, :k], distances[:, :k]
            tied = tied[cut_through_a_tie(rows, distances, k)]
        return found

    def _refined(
        self,
        queries: Float32,
        k: int,
        candidates: int,
        nprobe: int,
        probes: Probes | None,
        masks: QueryMasks | None,
    ) -> tuple[Int64, Float32]:
        """Return the candidates of the quick codes; those certainly not among the k nearest are at infinity.

        If faiss ranks the candidates, return the k + SPARE best of them, or all of them after a tie.
        """
        if masks is not None and isinstance(self._source, TwoStageSource) and self._source.has_codes:
            rows = best_candidates(self._source, queries, k, candidates, nprobe, probes, masks)
        elif masks is None and isinstance(self._source, TwoStageSource):
            kept = k + SPARE if candidates <= self._source.candidates_for(k, nprobe) else candidates
            rows, _ = self._source.nearest(queries, min(kept, candidates), candidates, nprobe)
        else:
            rows, _ = first_stage(self._source, queries, candidates, nprobe, probes, masks)
        return by_distance(rows, self._vectors.nearest(queries, rows, k))


def candidates_factor(probes: Probes | None, queries: int) -> Int64:
    """Return how many times the usual candidates each query needs: 1, 2, or 4.

    Quick codes distinguish vectors less well far from a query. If the rarity is unknown, all
    matches may be far away.
    """
    if probes is None or probes.rarity is None:
        return np.full(queries, MOST_CANDIDATES)
    factors: Int64 = 2 ** np.round(2 * np.log2(np.clip(probes.rarity, 1, MOST_CANDIDATES**0.5))).astype(np.int64)
    return factors
