"""Exact distances between images and their candidates, in one pass over the stored embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.progress import Bar
from lookalike_indexer.threads import processors
from lookalike_indexer.vectors import pairs
from lookalike_indexer.vectors.metric import prepare

# Pairs that a thread compares at a time.
_PAIRS = 2048


def rescored(
    reader: CollectionReader, space: str, queries: Float32, candidates: Int64, metric: Metric, bar: Bar
) -> Float32:
    """Return the distance of each prepared query (n, dim) to its candidates, rows of the space (n, depth), float32.

    -1 means no candidate, at distance infinity. Each pair is computed separately in float64.
    """
    flat = candidates.ravel()
    order = np.argsort(flat, kind="stable")
    ascending = flat[order]
    out = np.full(len(flat), np.inf, np.float32)
    start = 0
    with ThreadPoolExecutor(processors()) as pool:
        for ids, vectors in watched(reader.stream_ahead(space), bar):
            low, high = np.searchsorted(ascending, [start, start + len(ids)])
            found = order[low:high]
            asked, there = found // candidates.shape[1], ascending[low:high] - start
            rows = prepare(vectors, metric)

            def compare(
                some: slice, found: Int64 = found, asked: Int64 = asked, there: Int64 = there, rows: Float32 = rows
            ) -> None:
                out[found[some]] = pairs.distances(queries, asked[some], rows, there[some], metric)

            for _ in pool.map(compare, _slices(len(found))):
                pass
            start += len(ids)
    return out.reshape(candidates.shape)


def rescored_within(vectors: Float32, candidates: Int64, metric: Metric) -> Float32:
    """Like `rescored`, for prepared vectors (n, dim) whose candidates (n, depth) are rows of the same array.

    Two vectors that are candidates of each other are compared once.
    """
    n = len(vectors)
    rows = np.broadcast_to(np.arange(n)[:, None], candidates.shape)
    there = candidates >= 0
    one, other = rows[there], candidates[there]
    couples, of_couples = np.unique(np.minimum(one, other) * n + np.maximum(one, other), return_inverse=True)
    one, other = np.divmod(couples, n)
    found = np.empty(len(couples), np.float32)

    def compare(some: slice) -> None:
        found[some] = pairs.distances(vectors, one[some], vectors, other[some], metric)

    with ThreadPoolExecutor(processors()) as pool:
        for _ in pool.map(compare, _slices(len(couples))):
            pass
    out = np.full(candidates.shape, np.inf, np.float32)
    out[there] = found[of_couples]
    return out


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _PAIRS) for start in range(0, count, _PAIRS))


def watched(blocks: Iterator[tuple[Int64, Float32]], bar: Bar) -> Iterator[tuple[Int64, Float32]]:
    """Yield the same blocks; advance the bar after each is processed."""
    for ids, vectors in blocks:
        yield ids, vectors
        bar.advance(len(ids))
