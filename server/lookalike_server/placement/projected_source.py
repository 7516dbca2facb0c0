"""Indexes of principal components, whose candidates are ranked by codes of all dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import faiss
import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing import two_stage
from lookalike_server.placement.facts import Facts, Strategy
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.some_codes import SomeCodes
from lookalike_server.placement.sources import HARDEST, MARGIN, Source

# All matches are candidates if there are at most this many times the usual candidates: a first stage takes as long.
_MOST_COMPARED = 6


class TwoStageSource:
    """Principal components find candidates, and faiss keeps the best of them by the codes of all dimensions.

    `first` is the first stage alone, which searches for queries with masks; `best` then keeps
    the best of its rows.
    """

    filters = True

    def __init__(self, index: faiss.IndexRefine, first: Source, metric: Metric) -> None:
        self._search = two_stage.TwoStageSearch(index, metric == "cosine")
        # Asked once: each question to faiss takes some microseconds.
        self._effort_limits = two_stage.kept_by(index, 1) is not None
        self.first = ProjectedSource(index, first, metric)
        refine = faiss.downcast_index(index.refine_index)
        self._codes = SomeCodes(refine) if isinstance(refine, faiss.IndexScalarQuantizer) else None
        self._graph = isinstance(two_stage.first_stage(index), faiss.IndexHNSW)
        # Shards of other kinds compare no more matches of a filter, so that their answers are those of the whole index.
        self._most = _MOST_COMPARED if self._graph else two_stage.FACTOR
        self.ntotal = int(index.ntotal)

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        if masks is None:
            return None
        if self.compares(masks, int(wanted.max(initial=1))).all():
            return _all_compared(masks)
        return self.first.probes(queries, nprobe, wanted, precise, masks)

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        if masks is not None:
            return self.first.near(queries, k, nprobe, probes, masks)
        return self.nearest(queries, k, k, nprobe)

    def candidates_for(self, k: int, nprobe: int) -> int:
        """Return how many candidates a search for k neighbors without masks has."""
        return two_stage.candidates_for(k, self.ntotal, nprobe if self._effort_limits else None)

    def nearest(self, queries: Float32, kept: int, candidates: int, nprobe: int) -> tuple[Int64, Float32]:
        """Return the best rows (n, kept) of the candidates by the second stage, and their costs, as `near` does."""
        costs, rows = self._search(queries, kept, candidates, nprobe)
        if (rows[:, -1] >= 0).all():
            return rows, costs
        effort = max(nprobe, candidates)
        hardest = effort * HARDEST if self._graph else effort
        while effort < hardest and len(short := np.flatnonzero((rows < 0).any(axis=1))):
            effort *= 2
            again = np.ascontiguousarray(queries[short])
            costs[short], rows[short] = self._search(again, kept, candidates, effort)
        return rows, np.where(rows < 0, np.float32(np.inf), costs)

    def compares(self, masks: QueryMasks, k: int) -> Bools:
        """Return for each query whether all its matches are candidates, because they are few."""
        if self._codes is None:
            return np.zeros(len(masks.numbers), np.bool_)
        return masks.matches <= self._most * max(two_stage.FACTOR * k, two_stage.LEAST)

    @property
    def has_codes(self) -> bool:
        """True if the second stage consists of codes, which `best` compares."""
        return self._codes is not None

    def best(self, queries: Float32, candidates: Sequence[Int64], kept: int) -> Int64:
        """Return the rows (n, kept) that the second stage finds best among each query's candidates, which ascend."""
        if self._codes is None:
            raise AssertionError("only codes find the best")
        found = np.full((len(candidates), kept), -1, np.int64)
        for line, rows in enumerate(candidates):
            if len(rows):
                found[line] = self._codes.search(queries[line : line + 1], rows, kept)[1][0]
        return found


def _all_compared(masks: QueryMasks) -> Probes:
    """Return the probes of queries whose matches are all compared."""
    count = len(masks.numbers)
    kinds: list[Strategy] = ["matches" if matches else "none" for matches in masks.matches.tolist()]
    facts = replace(Facts.alike("matches", count), strategy=kinds)
    nothing = np.empty((count, 0))
    lists, scores = nothing.astype(np.int64), nothing.astype(np.float32)
    return Probes(lists, scores, np.zeros(count, np.int64), facts, np.ones(count))


def kept_of(candidates: int) -> int:
    """Return how many of the candidates to keep: the requested rows, and some that may tie."""
    return min(-(-candidates // two_stage.FACTOR) + MARGIN, candidates)


class ProjectedSource:
    """An index of principal components, as the first stage alone."""

    filters = True

    def __init__(self, index: faiss.IndexRefine, first: Source, metric: Metric) -> None:
        self._project = two_stage.Projection(index, metric == "cosine")
        self._first = first
        self.ntotal = first.ntotal
        # The last queries and their projection, because `probes` and the search after it get the same array.
        self._last: tuple[Float32 | None, Float32] = None, np.empty((0, 0), np.float32)

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        return self._first.probes(self._projected(queries), nprobe, wanted, precise, masks)

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        return self._first.near(self._projected(queries), k, nprobe, probes, masks)

    def _projected(self, queries: Float32) -> Float32:
        known, projected = self._last
        if known is not queries:
            projected = self._project(queries)
            self._last = queries, projected
        return projected
