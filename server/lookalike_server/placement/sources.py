"""Where candidates come from: one source for each way in which faiss keeps vectors.

A source finds rows whose float32 costs are least. A cost is the negative inner
product (cosine) or the squared distance (l2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.params import search_parameters
from lookalike_indexer.indexing.rowwise import Float64
from lookalike_server.placement.lists import ListChooser, Probes

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

# Candidates beyond k: what comes next may be as near as the last one, exactly (copies of a picture) or by rounding.
MARGIN = 8
# A graph that did not find k is searched so many times as hard at most. Then somebody has to compare everything.
HARDEST = 8
# Results of one range search: 200 MiB of rows and scores.
_RESULTS = 1 << 24
# Queries of one range search at most.
_TOGETHER = 32

# Searches for some of the queries, by number, within a radius, and fills a result.
RangeSearch = Callable[[Int64, float, Any], None]


class Source(Protocol):
    """An index as its vectors are found. Queries are (n, dim), prepared and transformed."""

    ntotal: int

    def probes(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes | None:
        """Where to look for each query; None where there is no choice."""
        ...

    def near(self, queries: Float32, k: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
        """The k rows (n, k) of least cost and their costs, ascending; row -1 and infinity where there are fewer."""
        ...


class RangeSource(Source, Protocol):
    """A source that can also find everything within a cost, so that nothing is missed by rounding."""

    def within(self, queries: Float32, costs: Float64, probes: Probes | None) -> Sequence[Int64]:
        """For each query the rows of at most that cost (n,), in any order."""
        ...


class FlatSource:
    """An array of vectors or codes, all of which are compared."""

    def __init__(self, index: faiss.Index, metric: Metric) -> None:
        self._index = index
        self._metric: Metric = metric
        self.ntotal = int(index.ntotal)

    def probes(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes | None:
        return None

    def near(self, queries: Float32, k: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
        scores, rows = self._index.search(queries, k)
        return rows, _costs(scores, rows, self._metric)

    def within(self, queries: Float32, costs: Float64, probes: Probes | None) -> Sequence[Int64]:
        def search(some: Int64, radius: float, result: faiss.RangeSearchResult) -> None:
            asked = np.ascontiguousarray(queries[some])
            self._index.range_search_c(len(some), faiss.swig_ptr(asked), radius, result)

        return _by_radius(_radii(costs, self._metric), self._metric, self.ntotal, search)


class ListSource:
    """Inverted lists, of which a query visits those that `chooser` names."""

    def __init__(self, index: faiss.IndexIVF, metric: Metric, chooser: ListChooser) -> None:
        self._index = index
        self._metric: Metric = metric
        self._chooser = chooser
        self.ntotal = int(index.ntotal)

    def probes(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes | None:
        return self._chooser.choose(queries, nprobe, wanted, precise)

    def near(self, queries: Float32, k: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
        visited = _given(probes)
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        # The C++ method: the Python one takes no parameters, and would have to change the shared index.
        self._index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            k,
            faiss.swig_ptr(visited.lists),
            faiss.swig_ptr(visited.scores),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            False,
            faiss.SearchParametersIVF(nprobe=visited.lists.shape[1]),
        )
        return rows, _costs(scores, rows, self._metric)

    def within(self, queries: Float32, costs: Float64, probes: Probes | None) -> Sequence[Int64]:
        visited = _given(probes)

        def search(some: Int64, radius: float, result: faiss.RangeSearchResult) -> None:
            theirs, asked = visited.of(some), np.ascontiguousarray(queries[some])
            self._index.range_search_preassigned_c(
                len(some),
                faiss.swig_ptr(asked),
                radius,
                faiss.swig_ptr(theirs.lists),
                faiss.swig_ptr(theirs.scores),
                result,
                False,
                faiss.SearchParametersIVF(nprobe=theirs.lists.shape[1]),
            )

        return _by_radius(_radii(costs, self._metric), self._metric, self.ntotal, search)


class GraphSource:
    """A graph, which is followed from one vector to nearer ones; of it `nprobe` is the efSearch."""

    def __init__(self, index: faiss.Index, metric: Metric) -> None:
        self._index = index
        self._metric: Metric = metric
        self.ntotal = int(index.ntotal)

    def probes(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes | None:
        return None

    def near(self, queries: Float32, k: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
        scores, rows = self._index.search(queries, k, params=search_parameters(self._index, max(nprobe, k)))
        return rows, _costs(scores, rows, self._metric)


class TwoStageSource:
    """Principal components find candidates, and faiss keeps the best of them by the codes of all dimensions.

    Fewer rows than asked for come back: the others are certainly not the nearest, up to the rounding of the queries.
    """

    def __init__(self, index: faiss.IndexRefine) -> None:
        self._search = two_stage.TwoStageSearch(index)
        self._graph = isinstance(two_stage.first_stage(index), faiss.IndexHNSW)
        self.ntotal = int(index.ntotal)

    def probes(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes | None:
        return None

    def near(self, queries: Float32, k: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
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
    """The inverted lists of principal components."""

    def __init__(self, index: faiss.IndexRefine, lists: ListSource) -> None:
        self._index = index
        self._lists = lists
        self.ntotal = lists.ntotal

    def probes(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes | None:
        return self._lists.probes(two_stage.project(self._index, queries), nprobe, wanted, precise)

    def near(self, queries: Float32, k: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
        return self._lists.near(two_stage.project(self._index, queries), k, nprobe, probes)


class OtherSource:
    """Whatever else answers a search, such as an index on a GPU."""

    def __init__(self, index: Any, metric: Metric) -> None:
        self._index = index
        self._metric: Metric = metric
        self.ntotal = int(index.ntotal)
        # By nprobe: finding out what an index is wrapped in costs a tenth of a quick search.
        self._parameters: dict[int, faiss.SearchParameters | None] = {0: None}

    def probes(self, queries: Float32, nprobe: int, wanted: Int64, precise: bool) -> Probes | None:
        return None

    def near(self, queries: Float32, k: int, nprobe: int, probes: Probes | None) -> tuple[Int64, Float32]:
        if nprobe not in self._parameters:
            self._parameters[nprobe] = search_parameters(self._index, nprobe)
        scores, rows = self._index.search(queries, k, params=self._parameters[nprobe])
        return rows, _costs(scores, rows, self._metric)


def _costs(scores: Float32, rows: Int64, metric: Metric) -> Float32:
    costs = -scores if metric == "cosine" else scores
    # faiss fills what it did not find with numbers of its own.
    return np.where(rows < 0, np.float32(np.inf), costs)


def _radii(costs: Float64, metric: Metric) -> Float64:
    """Radii for faiss, which finds what is strictly within."""
    radii = -costs if metric == "cosine" else costs
    outward = np.float32(-np.inf if metric == "cosine" else np.inf)
    return np.nextafter(radii.astype(np.float32), outward).astype(np.float64)


def _by_radius(radii: Float64, metric: Metric, ntotal: int, search: RangeSearch) -> Sequence[Int64]:
    """The rows within each query's radius (n,)."""
    found: list[Int64] = [np.empty(0, np.int64)] * len(radii)
    # A range search has one radius, the widest of its queries, so that queries of like radii go together.
    step = max(1, min(_TOGETHER, _RESULTS // max(1, ntotal)))
    order = np.argsort(radii, kind="stable")
    for start in range(0, len(order), step):
        some = order[start : start + step]
        result = faiss.RangeSearchResult(len(some))
        search(some, float(radii[some].min() if metric == "cosine" else radii[some].max()), result)
        ends = faiss.rev_swig_ptr(result.lims, len(some) + 1).astype(np.int64)
        if not ends[-1]:
            continue
        rows = faiss.rev_swig_ptr(result.labels, int(ends[-1]))
        scores = faiss.rev_swig_ptr(result.distances, int(ends[-1]))
        for number, line in enumerate(some):
            here = slice(ends[number], ends[number + 1])
            within = scores[here] > radii[line] if metric == "cosine" else scores[here] < radii[line]
            found[line] = rows[here][within]
    return found


def _given(probes: Probes | None) -> Probes:
    if probes is None:
        raise AssertionError("lists are searched where probes say")
    return probes
