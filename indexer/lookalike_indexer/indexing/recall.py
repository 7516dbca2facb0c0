"""Measurement of recall@k: the share of the k nearest images that an index finds, by the number of lists it visits.

Queries are held-out stored images where enough exist; each excludes itself from its results. An image that is as near
as the k-th nearest counts as found, because duplicates are interchangeable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.manifest import RecallPoint
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing.params import describe, search_parameters
from lookalike_indexer.indexing.truth_on_machines import exact_on_machines
from lookalike_indexer.indexing.two_stage import searched
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors import pairs
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare

AT = 10
# The measured k; a search with another k uses the two nearest ones. The last is the most that servers return.
MEASURED_AT = (1, AT, 100, 1024)
# The total number of neighbors to search: for a large k, fewer queries are equally informative.
_NEIGHBORS = 51_200
# Two steps without a gain end the ladder: the remaining loss is in the codes, not in unvisited lists.
_PATIENCE = 2
# Extra neighbors to search if some images are deleted.
_BEYOND = 16
_GRAPH_STEPS = (16, 32, 64, 128, 256, 512, 1024, 2048)


def measure_recall(
    index: faiss.Index,
    reader: CollectionReader,
    space: str,
    metric: Metric,
    query_rows: Int64,
    queries: Float32,
    progress: Progress,
    machines: Machines | None = None,
) -> list[RecallPoint]:
    """Return the recall ladders of an index: by ascending k of `measured_at`, then nprobe 1, 2, 4, ... nlist.

    `queries` (nq, dim) are prepared, and are the rows `query_rows` of the space. Deleted images in results are left
    out. A ladder ends early if the recall is 1 or two steps brought no gain. A lossless index has one point with nprobe
    0, which needs no measurement. Another index without lists has one for each k. The result is empty if there is
    nothing to find. With `machines`, those of a cluster find the exact neighbors.
    """
    if describe(index).lossless:
        return [RecallPoint(0, 1.0)]
    rows = reader.space(space)[1].rows
    if rows < 2 or not len(queries):
        return []
    ks = measured_at(rows)
    truth = _find_truth(reader, space, metric, query_rows, queries, min(ks[-1], rows - 1), progress, machines)
    ladders: dict[int, list[RecallPoint]] = {k: [] for k in ks}
    live = reader.live_rows(space)
    steps = efforts(index)
    with progress.stage("measure recall", len(steps), "step") as bar:
        for nprobe in steps:
            for k in [k for k in ks if not _ended(ladders[k])]:
                depth, count = min(k, rows - 1), min(len(queries), max(1, _NEIGHBORS // k))
                asked, own = queries[:count], query_rows[:count]
                labels = _search_rows(index, asked, depth + 1, nprobe, live)
                found = np.take_along_axis(labels, _without_query(labels, own, depth), axis=1)
                hits = _hits(reader, space, metric, asked, found, truth.at(depth, count))
                ladders[k].append(RecallPoint(nprobe, hits / (depth * count), k))
                bar.note(f"nprobe {nprobe}: recall@{k} {ladders[k][-1].recall:.4f}")
            bar.advance()
            if all(map(_ended, ladders.values())):
                break
    return [point for k in ks for point in ladders[k]]


def _search_rows(index: faiss.Index, queries: Float32, k: int, nprobe: int, live: Int64 | None) -> Int64:
    """Return the rows (n, k) of found images, numbered by `live`, which are the index's rows that are not deleted."""
    if live is None:
        return searched(index, queries, k, nprobe)
    # Search for as many more as are deleted on average among that many, with a margin.
    beyond = math.ceil(k * (index.ntotal / len(live) - 1) * 1.5) + _BEYOND
    rows = searched(index, queries, min(k + beyond, index.ntotal), nprobe)
    places = np.minimum(np.searchsorted(live, rows), len(live) - 1)
    numbers = np.where((rows >= 0) & (live[places] == rows), places, -1)
    order = np.argsort(numbers < 0, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(numbers, order, axis=1)


def measured_at(rows: int) -> list[int]:
    """Return the k at which the recall over `rows` images is measured: up to the first that covers all images."""
    return [k for k in MEASURED_AT if k <= AT or k <= _next_below(rows)]


def _next_below(rows: int) -> int:
    """Return the smallest of MEASURED_AT that is at least the number of other images."""
    return next((k for k in MEASURED_AT if k >= rows - 1), MEASURED_AT[-1])


@dataclass(frozen=True)
class _Truth:
    """For each query its nearest other rows (nq, m), and the distances of those and one more (nq, m + 1)."""

    rows: Int64
    distances: Float64

    def at(self, k: int, count: int) -> _Nearest:
        """Return the k nearest of the first `count` queries."""
        limits = as_near(self.distances[:count, k - 1])
        return _Nearest(self.rows[:count, :k], limits, self.distances[:count, k] <= limits)


@dataclass(frozen=True)
class _Nearest:
    """For each query its k nearest rows (nq, k), the last one's distance (nq,), whether others are as near (nq,)."""

    rows: Int64
    limits: Float64
    tied: npt.NDArray[np.bool_]


def efforts(index: faiss.Index) -> list[int]:
    """Return the steps of an index's ladder: 1, 2, 4, ... and nlist; efSearch values for a graph; [0] for others."""
    if search_parameters(index, 1) is None:
        return [0]
    nlist = describe(index).nlist
    if not nlist:
        return list(_GRAPH_STEPS)
    return [*(2**power for power in range((nlist - 1).bit_length())), nlist]


def _ended(points: list[RecallPoint]) -> bool:
    """Return whether the recall of a ladder is 1, or its last steps gained nothing."""
    if points and points[-1].recall == 1:
        return True
    if len(points) <= _PATIENCE:
        return False
    return max(point.recall for point in points[-_PATIENCE:]) <= points[-_PATIENCE - 1].recall


def _find_truth(
    reader: CollectionReader,
    space: str,
    metric: Metric,
    query_rows: Int64,
    queries: Float32,
    k: int,
    progress: Progress,
    machines: Machines | None,
) -> _Truth:
    with progress.stage("exact neighbors", reader.space(space)[1].rows, "image") as bar:

        def numbered() -> Iterator[tuple[Int64, Float32]]:
            start = 0
            for ids, vectors in reader.stream_ahead(space):
                yield np.arange(start, start + len(ids)), vectors
                start += len(ids)
                bar.advance(len(ids))

        # One more for the query itself, and one more to detect a tie of the k-th.
        if machines is None:
            rows, distances = exact_search(numbered(), queries, k + 2, metric)
        else:
            rows, distances = exact_on_machines(machines, reader, space, queries, k + 2, metric, bar.advance)
    others = _without_query(rows, query_rows, k + 1)
    distances = np.take_along_axis(distances, others, axis=1)
    return _Truth(np.take_along_axis(rows, others, axis=1)[:, :k], distances.astype(np.float64))


def as_near(distances: npt.NDArray[np.floating]) -> Float64:
    """Return the distances up to which an image counts as equally near: the given ones plus a rounding margin."""
    limits: Float64 = np.multiply(distances, 1 + 1e-5, dtype=np.float64) + 1e-6
    return limits


def _without_query(rows: Int64, query_rows: Int64, count: int) -> npt.NDArray[np.intp]:
    """Return the positions of the first `count` rows that are not the query itself."""
    return np.argsort(rows == query_rows[:, None], axis=1, kind="stable")[:, :count]


def _hits(reader: CollectionReader, space: str, metric: Metric, queries: Float32, found: Int64, truth: _Nearest) -> int:
    """Return how many of the found rows are among the nearest, or as near as those."""
    lines = np.arange(len(found))[:, None] * np.int64(reader.space(space)[1].rows)
    listed = (found >= 0) & np.isin(found + lines, truth.rows + lines)
    query, place = np.nonzero(~listed & (found >= 0) & truth.tied[:, None])
    hits = np.count_nonzero(listed)
    # In row order, and few at a time: each is read from its position in the collection.
    order = np.argsort(found[query, place], kind="stable")
    for start in range(0, len(order), 1024):
        some = order[start : start + 1024]
        vectors = prepare(reader.vectors(space, found[query[some], place[some]]), metric)
        near = (
            pair_distances(queries, query[some], vectors, np.arange(len(vectors)), metric) <= truth.limits[query[some]]
        )
        hits += np.count_nonzero(near)
    return int(hits)


def pair_distances(
    queries: Float32, query: npt.NDArray[np.intp], vectors: Float32, rows: npt.NDArray[np.intp], metric: Metric
) -> Float64:
    """Return the distance of queries[query[i]] and vectors[rows[i]], both prepared for the metric, shape (pairs,)."""
    costs = pairs.costs(queries, query, vectors, rows, metric)
    return np.sqrt(costs) if metric == "l2" else 1 + costs
