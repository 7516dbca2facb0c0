"""Exact nearest neighbors by comparing with every vector, block by block.

A float32 matrix product finds candidates for the k nearest; those pairs are compared again in float64, each pair
separately. The result therefore does not depend on the size of blocks or batches. It equals that of a float64 brute
force with distances rounded to float32 before sorting, so that equal displayed distances are ordered by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Float64, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import UsageError
from lookalike_indexer.vectors import pairs, rowwise
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.rounding import largest_cost, worst_error

# Elements of the largest block of float32 scores, queries by rows.
_BLOCK = 1 << 22
# Extra terms of the error bound, for the sums added to a product and the rounding of a distance to float32.
TERMS = 12
# If a block has more near rows per query than this multiple of k, only the nearest of the block are kept.
MANY = 2


def exact_search(
    blocks: Iterable[tuple[Int64, Float32]],
    queries: Float32,
    k: int,
    metric: Metric,
    allowed: Sequence[Bools | None] | None = None,
    *,
    prepared: bool = False,
) -> tuple[Int64, Float32]:
    """Return the k nearest rows of each query: (rows int64, distances float32), both of shape (nq, k), nearest first.

    A block is the rows' numbers (n,), each number once among all blocks and in any order, and their vectors (n, dim),
    as `CollectionReader.stream` yields them. Queries have shape (nq, dim). Neither need be prepared; `prepared` means
    that the blocks' vectors are, which saves time. Equal distances are ordered by ascending row. Missing rows are -1 at
    distance infinity. `allowed` has for each query a boolean for each row number, and only true rows may be found; None
    permits all. Memory: one block and nq x k. Raise UsageError if k < 1, or a query has another dimension or is not
    finite.
    """
    if k < 1:
        raise UsageError(f"k is {k}; it must be at least 1.")
    wanted = prepare(queries, metric)
    if not np.isfinite(wanted).all():
        raise UsageError("A query holds NaN or infinite values.")
    best = BestResults.none(len(wanted), k)
    norms = np.sqrt(rowwise.squared_norms(wanted))
    filters = None if allowed is None else _Filters(allowed)
    for numbers, vectors in blocks if filters is None else filters.reduced(blocks):
        if vectors.shape[1] != wanted.shape[1]:
            raise UsageError(f"The queries have {wanted.shape[1]} dimensions, the stored vectors {vectors.shape[1]}.")
        rows = vectors if prepared else prepare(vectors, metric)
        for some in slices(len(wanted), len(rows)):
            banned = None if filters is None else filters.banned(some, numbers)
            limits = best.limits(some, metric)
            query_rows, candidates = _candidates(wanted[some], norms[some], rows, limits, k, metric, banned)
            query_rows += some.start
            distances = pairs.distances(wanted, query_rows, rows, candidates, metric)
            best.add(query_rows, numbers[candidates], distances)
    return best.rows, best.distances


@dataclass(frozen=True)
class BestResults:
    """The best results so far, each of shape (nq, k), nearest first. `add` changes the arrays."""

    rows: Int64
    distances: Float32

    @classmethod
    def none(cls, queries: int, k: int) -> BestResults:
        return cls(np.full((queries, k), -1, np.int64), np.full((queries, k), np.inf, np.float32))

    def limits(self, some: slice, metric: Metric) -> Float64:
        """Return the cost limits of a row among the k nearest of the queries in `some`, shape (queries,)."""
        return largest_cost(self.distances[some, -1], metric)

    def add(self, query_rows: Int64, numbers: Int64, distances: Float32) -> None:
        """Merge more pairs of a query and a row into the results."""
        k = self.rows.shape[1]
        # After some blocks, most queries have no such pair.
        touched = np.unique(query_rows)
        all_queries = np.concatenate([np.repeat(touched, k), query_rows])
        all_rows = np.concatenate([self.rows[touched].ravel(), numbers])
        all_distances = np.concatenate([self.distances[touched].ravel(), distances])
        order = np.lexsort((all_rows, all_distances, all_queries))
        first = np.searchsorted(all_queries[order], touched)
        kept = order[first[:, None] + np.arange(k)]
        self.rows[touched], self.distances[touched] = all_rows[kept], all_distances[kept]


class _Filters:
    """The rows that each query may find. Queries with the same array share it."""

    def __init__(self, allowed: Sequence[Bools | None]) -> None:
        distinct = {id(one): one for one in allowed}
        places = {name: place for place, name in enumerate(distinct)}
        self._masks = list(distinct.values())
        self._mask_of = np.array([places[id(one)] for one in allowed], np.int64)

    def reduced(self, blocks: Iterable[tuple[Int64, Float32]]) -> Iterator[tuple[Int64, Float32]]:
        """Yield the blocks without the rows that no query may find."""
        for numbers, vectors in blocks:
            if all(mask is not None for mask in self._masks):
                some = self._table(numbers).any(axis=0)
                if not some.any():
                    continue
                if not some.all():
                    numbers, vectors = numbers[some], vectors[some]
            yield numbers, vectors

    def banned(self, queries: slice, numbers: Int64) -> Bools:
        """Return whether a query may not find a row, (queries, rows)."""
        return ~self._table(numbers)[self._mask_of[queries]]

    def _table(self, numbers: Int64) -> Bools:
        return np.stack([np.ones(len(numbers), np.bool_) if mask is None else mask[numbers] for mask in self._masks])


def _candidates(
    queries: Float32,
    norms: Float64,
    rows: Float32,
    limits: Float64,
    k: int,
    metric: Metric,
    banned: Bools | None = None,
) -> tuple[Int64, Int64]:
    """Return pairs of a query and a row of the block, including all that may be among the k nearest."""
    scores = scores_of(queries, rows, metric)
    lengths = rowwise.squared_norms(rows) if metric == "l2" else np.ones(1)
    longest = float(np.sqrt(lengths.max()))
    if metric == "l2":
        limits = limits - np.square(norms)
    if banned is not None:
        scores[banned] = np.inf
    error = worst_error(queries.shape[1] + TERMS, norms + longest)
    near = scores <= (limits + error)[:, None]
    # Computing limits from the block itself costs a pass, which pays off only if many rows are near enough.
    if len(rows) > k and np.count_nonzero(near) > MANY * k * len(scores):
        limits = np.minimum(limits, np.partition(scores, k - 1, axis=1)[:, k - 1] + error)
        near = scores <= (limits + error)[:, None]
    if banned is not None:
        # If fewer than k were found so far, the limit is infinite.
        near &= ~banned
    query_rows, candidates = np.nonzero(near)
    return query_rows, candidates


def slices(queries: int, rows: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, rows))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def scores_of(queries: Float32, rows: Float32, metric: Metric) -> Float32:
    """Return scores (nq, n): -qx (cosine), or |x|^2 - 2qx (l2), without the query's own norm."""
    scores: Float32 = queries @ rows.T
    if metric == "l2":
        scores *= -2
        scores += rowwise.squared_norms(rows).astype(np.float32)
    else:
        np.negative(scores, out=scores)
    return scores
