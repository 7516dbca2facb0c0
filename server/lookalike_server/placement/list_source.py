"""Inverted lists as a source of candidates."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.filtered_lists import FilteredChooser
from lookalike_server.placement.lists import ListChooser, Probes
from lookalike_server.placement.masks import QueryMasks, bitmap
from lookalike_server.placement.sources import by_mask, by_radius, costs_of, radii_of, require_probes


class ListSource:
    """Inverted lists. `chooser` chooses those that a query visits, or `filtered` if the query has a mask."""

    filters = True

    def __init__(
        self, index: faiss.IndexIVF, metric: Metric, chooser: ListChooser, filtered: FilteredChooser | None = None
    ) -> None:
        self._index = index
        self._metric: Metric = metric
        self._chooser = chooser
        self._filtered = filtered
        self.ntotal = int(index.ntotal)

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        if masks is not None and self._filtered is not None:
            return self._filtered.choose(queries, nprobe, wanted, precise, masks)
        return self._chooser.choose(queries, nprobe, wanted, precise)

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        visited = require_probes(probes)
        if masks is None:
            return self._near(queries, k, visited, None)

        def search(mask: RowMask, lines: Int64) -> tuple[Int64, Float32]:
            return self._near(np.ascontiguousarray(queries[lines]), k, visited.of(lines), mask)

        return by_mask(masks, k, search)

    def _near(self, queries: Float32, k: int, visited: Probes, mask: RowMask | None) -> tuple[Int64, Float32]:
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        # The C++ method, because the Python one takes no parameters and would have to change the shared index.
        self._index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            k,
            faiss.swig_ptr(visited.lists),
            faiss.swig_ptr(visited.scores),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            False,
            _parameters(visited, mask),
        )
        return rows, costs_of(scores, rows, self._metric)

    def within(
        self, queries: Float32, costs: Float64, probes: Probes | None, masks: QueryMasks | None = None
    ) -> Sequence[Int64]:
        visited = require_probes(probes)

        def search(some: Int64, mask: RowMask | None, radius: float, result: faiss.RangeSearchResult) -> None:
            theirs, asked = visited.of(some), np.ascontiguousarray(queries[some])
            self._index.range_search_preassigned_c(
                len(some),
                faiss.swig_ptr(asked),
                radius,
                faiss.swig_ptr(theirs.lists),
                faiss.swig_ptr(theirs.scores),
                result,
                False,
                _parameters(theirs, mask),
            )

        return by_radius(radii_of(costs, self._metric), self._metric, self.ntotal, search, masks)


def _parameters(visited: Probes, mask: RowMask | None) -> faiss.SearchParametersIVF:
    nprobe = visited.lists.shape[1]
    if mask is None:
        return faiss.SearchParametersIVF(nprobe=nprobe)
    # Not cached: a selector points into its mask.
    return faiss.SearchParametersIVF(nprobe=nprobe, sel=bitmap(mask))
