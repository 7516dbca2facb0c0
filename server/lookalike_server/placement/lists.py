"""Choice of inverted lists for a query.

A query visits the lists of the nearest centroids. float64 decides where float32 cannot, so that a
query visits the same lists alone and in any batch. If those lists hold fewer images than wanted,
the next ones are visited too.
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

# Centroids beyond nprobe: the distance of the next ones shows whether float32 was enough.
_MARGIN = 8


@dataclass(frozen=True)
class Probes:
    """Lists of each query (n, width), nearest first, padded with -1, and faiss's scores (n, width).

    `counts` (n,) are the numbers of lists. If queries have masks, `facts` and `rarity` (n,) are
    set. `rarity` is the size of the needed neighborhood, relative to that for evenly spread
    matches.
    """

    lists: Int64
    scores: Float32
    counts: Int64
    facts: Facts | None = None
    rarity: Float64 | None = None

    def of(self, lines: Int64) -> Probes:
        """Return the probes of some queries."""
        facts = None if self.facts is None else self.facts.at(lines)
        rarity = None if self.rarity is None else self.rarity[lines]
        return Probes(self.lists[lines], self.scores[lines], self.counts[lines], facts, rarity)


class Membership:
    """Inverted list of each row of a whole index. A shard of the index uses the whole index's membership."""

    def __init__(self, ivf: faiss.IndexIVF) -> None:
        # Needed until `lists` has been read from it.
        self._ivf: Any = ivf
        self.sizes: Int64 = np.array([ivf.invlists.list_size(number) for number in range(ivf.nlist)], np.int64)

    @cached_property
    def lists(self) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
        """List of each row, (rows,), in two bytes each, or four if there are more than 65,536 lists."""
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
        """Read `lists` now, and release the index."""
        _ = self.lists

    def matches(self, mask: RowMask) -> tuple[Int64, bool]:
        """Return how many rows of each list a mask allows, (nlist,), and whether that was cached."""
        return mask.derived(self, lambda: np.bincount(self.lists[mask.bools], minlength=len(self.sizes)))


class ListChooser:
    """Chooser of inverted lists. `sizes` (nlist,) are those of the whole index, also in a shard of it."""

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
        """Return the `nprobe` nearest lists of each query (n, dim), and more until they hold `wanted` (n,) images.

        `precise`: the scores must not depend on the batch either.
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
        """Return the `width` nearest lists, their costs, how many of them to visit, and whether that is certain."""
        scores, lists = self.quantizer.search(queries, width)
        costs = (-scores if self.metric == "cosine" else scores).astype(np.float64)
        everything = width == len(self.sizes)
        if everything:
            lists = self.completed(lists)
        counts, enough = self._counts(lists, nprobe, needs)
        if self.centroids is None:
            # A graph of centroids searches one query at a time, so its result does not depend on the batch.
            return lists, costs, counts, enough | everything
        norms = np.sqrt(rowwise.squared_norms(queries))
        last = costs[:, -1].copy()
        error = 2 * score_error(queries.shape[1], norms, np.sqrt(np.maximum(last, 0)), self.metric)
        inside, outside = _around(costs, counts)
        # The first nprobe lists are the same set in any order. If more are needed, the order decides how many.
        close = (outside - inside <= error) | (counts > nprobe)
        lines = np.flatnonzero(close & (counts < len(self.sizes)) | precise)
        if len(lines):
            lists[lines], costs[lines] = self.in_true_order(queries[lines], lists[lines], self.centroids)
            counts[lines], enough[lines] = self._counts(lists[lines], nprobe, needs[lines])
            inside, _ = _around(costs, counts)
        # Unseen lists cost at least as much as the last one.
        return lists, costs, counts, enough & (last - error > inside) | everything

    def _counts(self, lists: Int64, nprobe: int, needs: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """Return how many of the lists (n, width) to visit, and whether they hold what is needed."""
        held = np.cumsum(np.where(lists >= 0, self.sizes[lists], 0), axis=1)
        short = (held < needs[:, None]).sum(axis=1)
        counts = np.minimum(np.maximum(short + 1, nprobe), lists.shape[1])
        return counts, held[:, -1] >= needs

    def completed(self, lists: Int64) -> Int64:
        """Fill in the lists that an approximate quantizer did not find, in ascending order."""
        for line in np.flatnonzero((lists < 0).any(axis=1)):
            missing = lists[line] < 0
            lists[line, missing] = np.setdiff1d(np.arange(len(self.sizes)), lists[line])[: missing.sum()]
        return lists

    def in_true_order(self, queries: Float32, lists: Int64, centroids: Float32) -> tuple[Int64, Float64]:
        """Return the lists ordered by their float64 costs, equal ones by number, and those costs."""
        lines, places = np.nonzero(lists >= 0)
        costs = np.full(lists.shape, np.inf)
        costs[lines, places] = pairs.costs(queries, lines, centroids, lists[lines, places], self.metric)
        order = np.lexsort((lists, costs), axis=1)
        return np.take_along_axis(lists, order, axis=1), np.take_along_axis(costs, order, axis=1)


def _around(costs: Float64, counts: Int64) -> tuple[Float64, Float64]:
    """Return the costs of the last visited list and of the next one, which is infinite if there is none."""
    lines, width = np.arange(len(costs)), costs.shape[1]
    outside = costs[lines, np.minimum(counts, width - 1)]
    outside[counts == width] = np.inf
    return costs[lines, counts - 1], outside


def _widened(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    return np.pad(values, ((0, 0), (0, max(0, width - values.shape[1]))), constant_values=fill)
