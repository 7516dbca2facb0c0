"""Indexes of principal components, whose candidates are ranked by codes of all dimensions."""

from __future__ import annotations

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.indexing import two_stage
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.sources import HARDEST, MARGIN, Source


class TwoStageSource:
    """Principal components find candidates, and faiss keeps the best of them by the codes of all dimensions.

    May return fewer rows than requested: the others are certainly not the nearest, up to the
    rounding of the queries. `first` is the first stage alone, which searches for queries with
    masks.
    """

    filters = True

    def __init__(self, index: faiss.IndexRefine, first: Source) -> None:
        self._search = two_stage.TwoStageSearch(index)
        self._first = ProjectedSource(index, first)
        self._graph = isinstance(two_stage.first_stage(index), faiss.IndexHNSW)
        self.ntotal = int(index.ntotal)

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        return None if masks is None else self._first.probes(queries, nprobe, wanted, precise, masks)

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        if masks is not None:
            return self._first.near(queries, k, nprobe, probes, masks)
        kept = min(-(-k // two_stage.FACTOR) + MARGIN, k)
        costs, rows = self._search(queries, kept, k, nprobe)
        effort = max(nprobe, k)
        hardest = effort * HARDEST if self._graph else effort
        while effort < hardest and len(short := np.flatnonzero((rows < 0).any(axis=1))):
            effort *= 2
            again = np.ascontiguousarray(queries[short])
            costs[short], rows[short] = self._search(again, kept, k, effort)
        return rows, np.where(rows < 0, np.float32(np.inf), costs)


class ProjectedSource:
    """An index of principal components, as the first stage alone."""

    filters = True

    def __init__(self, index: faiss.IndexRefine, first: Source) -> None:
        self._index = index
        self._first = first
        self.ntotal = first.ntotal

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        return self._first.probes(two_stage.project(self._index, queries), nprobe, wanted, precise, masks)

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        return self._first.near(two_stage.project(self._index, queries), k, nprobe, probes, masks)
