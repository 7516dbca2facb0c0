"""Source that compares all vectors or codes of an array."""

from __future__ import annotations

import math
from collections.abc import Sequence

import faiss
import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks, bitmap, listed
from lookalike_server.placement.some_codes import SomeCodes
from lookalike_server.placement.sources import by_mask, by_radius, costs_of, radii_of

# Up to this share of matches, a flat index visits only the listed matches. Above it, every row is looked up.
_LISTED_SHARE = 0.1
# From this share on, one matrix product compares queries with all rows, whatever their masks. Reading the rows costs as
# much as comparing this additional share of them for one query.
_PRODUCT_SHARE, _READ_SHARE = 0.08, 1.0
# Keep this many times the candidates expected to contain k matches, but at most _MOST_KEPT.
_SPARE, _MOST_KEPT = 1.5, 1024


class FlatSource:
    """An array of vectors or codes, all of which are compared."""

    def __init__(self, index: faiss.Index, metric: Metric) -> None:
        self._index = index
        self._metric: Metric = metric
        self.ntotal = int(index.ntotal)
        self.filters = True
        # Only an IndexFlat visits just the listed rows; other indexes look up each row.
        self._follows = isinstance(index, faiss.IndexFlat)
        self._some = SomeCodes(index) if isinstance(index, faiss.IndexScalarQuantizer) else None

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        return None

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        if masks is None:
            scores, rows = self._index.search(queries, k)
            return rows, costs_of(scores, rows, self._metric)
        if not self._follows:
            return self._by_mask(queries, k, masks)
        found, costs, done = self._by_product(queries, k, masks)
        rest = np.flatnonzero(~done)
        if len(rest):
            found[rest], costs[rest] = self._by_mask(np.ascontiguousarray(queries[rest]), k, masks.at(rest))
        return found, costs

    def _by_product(self, queries: Float32, k: int, masks: QueryMasks) -> tuple[Int64, Float32, Bools]:
        """Return rows and costs (n, k) of queries whose nearest rows hold enough matches, and a mask of these queries.

        Enough is k, or all matches if there are fewer. The product needs a batch, but reads the
        rows only once for all masks.
        """
        rows, costs = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
        done = np.zeros(len(queries), np.bool_)
        lines = np.flatnonzero(masks.shares >= _PRODUCT_SHARE + _READ_SHARE / len(queries))
        # faiss counts the values of all queries, and uses no matrix product below this threshold.
        few = len(lines) * queries.shape[1] < faiss.cvar.distance_compute_blas_threshold
        if few or not len(lines):
            return rows, costs, done
        kept = min(self.ntotal, math.ceil(_SPARE * k / float(masks.shares[lines].min())))
        if kept > _MOST_KEPT:
            return rows, costs, done
        scores, near = self._index.search(np.ascontiguousarray(queries[lines]), kept)
        theirs = masks.at(lines)
        allowed = theirs.allow(near)
        enough = allowed.sum(axis=1) >= np.minimum(k, theirs.matches)
        # Matches first, in their order.
        order = np.argsort(~allowed[enough], axis=1, kind="stable")[:, :k]
        found = np.where(allowed[enough], near[enough], -1)
        done[lines[enough]] = True
        rows[done] = np.take_along_axis(found, order, axis=1)
        costs[done] = costs_of(np.take_along_axis(scores[enough], order, axis=1), rows[done], self._metric)
        return rows, costs, done

    def _by_mask(self, queries: Float32, k: int, masks: QueryMasks) -> tuple[Int64, Float32]:
        """Search each mask separately."""

        def search(mask: RowMask, lines: Int64) -> tuple[Int64, Float32]:
            if isinstance(self._index, faiss.IndexPQ):
                return self._ranged(queries[lines], k, mask)
            if self._some is not None and self._some.quicker(mask.count):
                scores, rows = self._some.search(np.ascontiguousarray(queries[lines]), mask.rows, k)
                return rows, costs_of(scores, rows, self._metric)
            few = self._follows and mask.share < _LISTED_SHARE
            parameters = faiss.SearchParameters(sel=listed(mask) if few else bitmap(mask))
            scores, rows = self._index.search(np.ascontiguousarray(queries[lines]), k, params=parameters)
            return rows, costs_of(scores, rows, self._metric)

        return by_mask(masks, k, search)

    def _ranged(self, queries: Float32, k: int, mask: RowMask) -> tuple[Int64, Float32]:
        """Return the k nearest in a product quantizer, which takes a selector only for searches by radius."""
        rows, costs = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
        everything = -np.inf if self._metric == "cosine" else np.inf
        for line in range(len(queries)):
            result, asked = faiss.RangeSearchResult(1), np.ascontiguousarray(queries[line : line + 1])
            self._index.range_search_c(
                1, faiss.swig_ptr(asked), everything, result, faiss.SearchParameters(sel=bitmap(mask))
            )
            count = int(faiss.rev_swig_ptr(result.lims, 2)[1])
            if not count:
                continue
            found = faiss.rev_swig_ptr(result.labels, count).copy()
            away = costs_of(faiss.rev_swig_ptr(result.distances, count), found, self._metric)
            order = np.lexsort((found, away))[:k]
            rows[line, : len(order)], costs[line, : len(order)] = found[order], away[order]
        return rows, costs

    def within(
        self, queries: Float32, costs: Float64, probes: Probes | None, masks: QueryMasks | None = None
    ) -> Sequence[Int64]:
        def search(some: Int64, mask: RowMask | None, radius: float, result: faiss.RangeSearchResult) -> None:
            asked = np.ascontiguousarray(queries[some])
            parameters = None if mask is None else faiss.SearchParameters(sel=bitmap(mask))
            self._index.range_search_c(len(some), faiss.swig_ptr(asked), radius, result, parameters)

        return by_radius(radii_of(costs, self._metric), self._metric, self.ntotal, search, masks)
