"""Which inverted lists a query visits.

The nearest centroids, decided in float64 where float32 leaves it open, so that
a query visits the same lists alone and in any batch. Where those lists hold
fewer images than are wanted, the next ones are visited, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import pairs, rowwise
from lookalike_indexer.vectors.rounding import score_error
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.facts import Facts

# Centroids beyond nprobe: whether the next one is as near decides whether float32 was enough.
_MARGIN = 8


@dataclass(frozen=True)
class Probes:
    """The lists of each query (n, width), nearest first, -1 behind the last; faiss's scores (n, width) of each.

    `counts` (n,) are the numbers of lists. Where queries have masks, there are
    `facts`, and `rarity` (n,): how many times as large a neighbourhood has to be
    as if matches were anywhere.
    """

    lists: Int64
    scores: Float32
    counts: Int64
    facts: Facts | None = None
    rarity: Float64 | None = None

    def of(self, lines: Int64) -> Probes:
        """Those of some queries."""
        facts = None if self.facts is None else self.facts.at(lines)
        rarity = None if self.rarity is None else self.rarity[lines]
        return Probes(self.lists[lines], self.scores[lines], self.counts[lines], facts, rarity)


class Membership:
    """Which inverted list each row of a whole index is in. A shard of the index has that of the whole."""

    def __init__(self, ivf: faiss.IndexIVF) -> None:
        # Until `lists` has been read from it.
        self._ivf: Any = ivf
        self.sizes: Int64 = np.array([ivf.invlists.list_size(number) for number in range(ivf.nlist)], np.int64)

    @cached_property
    def lists(self) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
        """The list of each row, (rows,). Two bytes a row, or four where there are many lists."""
        inverted = self._ivf.invlists
        ids = [
            faiss.rev_swig_ptr(inverted.get_ids(number), int(size)) if size else np.empty(0, np.int64)
            for number, size in enumerate(self.sizes)
        ]
        rows = 1 + max((int(some.max()) for some in ids if len(some)), default=-1)
        small = len(ids) <= 1 << 16
        lists = np.zeros(rows, np.uint16) if small else np.zeros(rows, np.uint32)
        for number, some in enumerate(ids):
            lists[some] = number
        self._ivf = None
        return lists

    def read(self) -> None:
        """Read `lists` now, and let go of the index."""
        _ = self.lists

    def matches(self, mask: RowMask) -> tuple[Int64, bool]:
        """The rows in each list that a mask of the index's rows allows, (nlist,), and whether that was known."""
        return mask.derived(self, lambda: np.bincount(self.lists[mask.bools], minlength=len(self.sizes)))


class ListChooser:
    """Chooses lists of an inverted file. `sizes` (nlist,) are those of the whole index, also in a shard of it."""

    def __init__(self, ivf: faiss.IndexIVF, sizes: Int64) -> None:
        self.quantizer = faiss.downcast_index(ivf.quantizer)
        self.metric: Metric = "l2" if self.quantizer.metric_type == faiss.METRIC_L2 else "cosine"
        self.sizes = sizes
        self._total = int(sizes.sum())
        self.centroids: Float32 | None = None
        if isinstance(self.quantizer, faiss.IndexFlat):
            kind: Any = self.quantizer
            self.centroids = faiss.rev_swig_ptr(kind.get_xb(), kind.ntotal * kind.d).reshape(kind.ntotal, kind.d)

    def choose(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes:
        """The `nprobe` nearest lists of each query (n, dim), and as many more as hold `wanted` (n,) images.

        `precise`: the scores do not depend on the batch either.
        """
        needs = np.minimum(wanted, self._total)
        nlist = len(self.sizes)
        width = min(nprobe + _MARGIN, nlist)
        lists, costs, counts, settled = self._nearest(queries, width, nprobe, needs, precise)
        while not settled.all():
            width = min(4 * width, nlist)
            lines = np.flatnonzero(~settled)
            lists, costs = _widened(lists, width, -1), _widened(costs, width, np.inf)
            some = np.ascontiguousarray(queries[lines])
            lists[lines], costs[lines], counts[lines], settled[lines] = self._nearest(
                some, width, nprobe, needs[lines], precise
            )
        most = int(counts.max(initial=1))
        lists, costs = lists[:, :most], costs[:, :most]
        lists[np.arange(most) >= counts[:, None]] = -1
        scores = (-costs if self.metric == "cosine" else costs).astype(np.float32)
        return Probes(np.ascontiguousarray(lists), np.ascontiguousarray(scores), counts)

    def _nearest(
        self, queries: Float32, width: int, nprobe: int, needs: Int64, precise: bool
    ) -> tuple[Int64, Float64, Int64, npt.NDArray[np.bool_]]:
        """The `width` nearest lists, their costs, how many of them to visit, and whether that is certain."""
        scores, lists = self.quantizer.search(queries, width)
        costs = (-scores if self.metric == "cosine" else scores).astype(np.float64)
        everything = width == len(self.sizes)
        if everything:
            lists = self.completed(lists)
        counts, enough = self._counts(lists, nprobe, needs)
        if self.centroids is None:
            # A graph of centroids sees one query at a time.
            return lists, costs, counts, enough | everything
        norms = np.sqrt(rowwise.squared_norms(queries))
        last = costs[:, -1].copy()
        error = 2 * score_error(queries.shape[1], norms, np.sqrt(np.maximum(last, 0)), self.metric)
        inside, outside = _around(costs, counts)
        # The first nprobe are the same set in any order. Where more are needed, the order decides how many.
        close = (outside - inside <= error) | (counts > nprobe)
        lines = np.flatnonzero(close & (counts < len(self.sizes)) | precise)
        if len(lines):
            lists[lines], costs[lines] = self.in_true_order(queries[lines], lists[lines], self.centroids)
            counts[lines], enough[lines] = self._counts(lists[lines], nprobe, needs[lines])
            inside, _ = _around(costs, counts)
        # Those that were not seen cost at least as much as the last one.
        return lists, costs, counts, enough & (last - error > inside) | everything

    def _counts(self, lists: Int64, nprobe: int, needs: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """How many of the lists (n, width) to visit, and whether those hold what is needed."""
        held = np.cumsum(np.where(lists >= 0, self.sizes[lists], 0), axis=1)
        short = (held < needs[:, None]).sum(axis=1)
        counts = np.minimum(np.maximum(short + 1, nprobe), lists.shape[1])
        return counts, held[:, -1] >= needs

    def completed(self, lists: Int64) -> Int64:
        """With the lists that an approximate quantizer did not find, in ascending order."""
        for line in np.flatnonzero((lists < 0).any(axis=1)):
            missing = lists[line] < 0
            lists[line, missing] = np.setdiff1d(np.arange(len(self.sizes)), lists[line])[: missing.sum()]
        return lists

    def in_true_order(self, queries: Float32, lists: Int64, centroids: Float32) -> tuple[Int64, Float64]:
        """The lists by their costs in float64, equal ones by number, and those costs."""
        lines, places = np.nonzero(lists >= 0)
        costs = np.full(lists.shape, np.inf)
        costs[lines, places] = pairs.costs(queries, lines, centroids, lists[lines, places], self.metric)
        order = np.lexsort((lists, costs), axis=1)
        return np.take_along_axis(lists, order, axis=1), np.take_along_axis(costs, order, axis=1)


def _around(costs: Float64, counts: Int64) -> tuple[Float64, Float64]:
    """The costs of the last list that is visited and of the next, which is infinity where there is none."""
    lines, width = np.arange(len(costs)), costs.shape[1]
    outside = costs[lines, np.minimum(counts, width - 1)]
    outside[counts == width] = np.inf
    return costs[lines, counts - 1], outside


def _widened(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    return np.pad(values, ((0, 0), (0, max(0, width - values.shape[1]))), constant_values=fill)
