"""Sources of candidates: one for each way in which faiss stores vectors.

A source finds the rows of least float32 cost. A cost is the negative inner product (cosine) or the
squared distance (l2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.placement.lists import Probes
from lookalike_server.placement.masks import QueryMasks

# Candidates beyond k: the next ones may be as near as the last, exactly (copies of an image) or by rounding.
MARGIN = 8
# A graph that did not find k is searched again with up to this many times the effort. After that, the caller must
# compare everything.
HARDEST = 8
# Results of one range search: 200 MiB of rows and scores.
_RESULTS = 1 << 24
# Largest number of queries in one range search.
_TOGETHER = 32

# Searches within a radius for the queries with these numbers, which share a mask, and fills a result.
RangeSearch = Callable[[Int64, RowMask | None, float, Any], None]


class Source(Protocol):
    """An index as a source of candidates. Queries are (n, dim), prepared and transformed."""

    ntotal: int
    # True if it finds all that masks allow by itself.
    filters: bool

    def probes(
        self, queries: Float32, nprobe: int, wanted: Int64, precise: bool, masks: QueryMasks | None = None
    ) -> Probes | None:
        """Return the lists or effort for each query, given its mask; None if there is no choice."""
        ...

    def near(
        self, queries: Float32, k: int, nprobe: int, probes: Probes | None, masks: QueryMasks | None = None
    ) -> tuple[Int64, Float32]:
        """Return the k rows (n, k) of least cost and their costs, ascending; missing rows are -1 at infinity."""
        ...


class RangeSource(Source, Protocol):
    """A source that can also find everything within a cost, so that rounding loses nothing."""

    def within(
        self, queries: Float32, costs: Float64, probes: Probes | None, masks: QueryMasks | None = None
    ) -> Sequence[Int64]:
        """Return for each query the rows of at most that cost (n,), in any order."""
        ...


def by_mask(
    masks: QueryMasks, k: int, search: Callable[[RowMask, Int64], tuple[Int64, Float32]]
) -> tuple[Int64, Float32]:
    """Return rows and costs (n, k) of all queries from one search per mask, over the queries that have it."""
    if len(masks.masks) == 1:
        return search(masks.masks[0], np.arange(len(masks.numbers)))
    rows, costs = np.empty((len(masks.numbers), k), np.int64), np.empty((len(masks.numbers), k), np.float32)
    for mask, lines in masks.groups():
        rows[lines], costs[lines] = search(mask, lines)
    return rows, costs


def costs_of(scores: Float32, rows: Int64, metric: Metric) -> Float32:
    costs = -scores if metric == "cosine" else scores
    # faiss fills missing results with numbers of its own.
    return np.where(rows < 0, np.float32(np.inf), costs)


def radii_of(costs: Float64, metric: Metric) -> Float64:
    """Return radii for faiss, which finds what is strictly within."""
    radii = -costs if metric == "cosine" else costs
    outward = np.float32(-np.inf if metric == "cosine" else np.inf)
    return np.nextafter(radii.astype(np.float32), outward).astype(np.float64)


def by_radius(
    radii: Float64, metric: Metric, ntotal: int, search: RangeSearch, masks: QueryMasks | None
) -> Sequence[Int64]:
    """Return the rows within each query's radius (n,)."""
    found: list[Int64] = [np.empty(0, np.int64)] * len(radii)
    # A range search uses one radius, the widest of its queries, so queries with similar radii are grouped.
    step = max(1, min(_TOGETHER, _RESULTS // max(1, ntotal)))
    groups = [(None, np.arange(len(radii)))] if masks is None else list(masks.groups())
    for mask, lines in groups:
        order = lines[np.argsort(radii[lines], kind="stable")]
        for start in range(0, len(order), step):
            some = order[start : start + step]
            result = faiss.RangeSearchResult(len(some))
            search(some, mask, float(radii[some].min() if metric == "cosine" else radii[some].max()), result)
            _keep(found, some, radii, metric, result)
    return found


def _keep(found: list[Int64], some: Int64, radii: Float64, metric: Metric, result: faiss.RangeSearchResult) -> None:
    """Store what a range search found within each query's own radius."""
    ends = faiss.rev_swig_ptr(result.lims, len(some) + 1).astype(np.int64)
    if not ends[-1]:
        return
    rows = faiss.rev_swig_ptr(result.labels, int(ends[-1]))
    scores = faiss.rev_swig_ptr(result.distances, int(ends[-1]))
    for number, line in enumerate(some):
        here = slice(ends[number], ends[number + 1])
        within = scores[here] > radii[line] if metric == "cosine" else scores[here] < radii[line]
        found[line] = rows[here][within]


def require_probes(probes: Probes | None) -> Probes:
    if probes is None:
        raise AssertionError("lists are searched where probes say")
    return probes
