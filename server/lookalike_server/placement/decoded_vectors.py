"""True distances to the vectors that an index holds.

faiss compares in float32, in an order that depends on the batch, so copies of one image can differ
in the last bit. Here each pair is compared on its own in float64 (vectors/rowwise.py), so its
distance depends only on the query and the stored vector. For a compressed index, the stored vector
is what its code decodes to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import pairs, rowwise
from lookalike_indexer.vectors.rounding import score_error

# Returns the vectors (m, dim) of rows (m,).
Decode = Callable[[Int64], Float32]

# Vectors decoded at once: 32 MiB at 2048 dimensions.
_DECODED = 4096
_FEW = 16
# Elements decoded at once, so that they stay in a processor's cache: 1 MiB.
_CACHED = 1 << 18


class DecodedVectors:
    """The vectors that an index holds, decoded on demand."""

    def __init__(self, decode: Decode, metric: Metric) -> None:
        self._decode = decode
        self._metric: Metric = metric

    def distances(self, queries: Float32, rows: Int64) -> Float32:
        """Return the distances of queries (n, dim) to the rows (n, k) found for each; infinity for row -1."""
        if 0 < rows.size * queries.shape[1] <= _CACHED:
            return self._compared(queries, rows)
        distances = np.full(rows.shape, np.inf, np.float32)
        # A block has as many elements as fit in the cache. If one query has more rows than that, its rows are split.
        width = max(1, _CACHED // queries.shape[1])
        height = max(1, width // max(1, rows.shape[1]))
        for start in range(0, len(rows), height):
            lines = slice(start, start + height)
            for first in range(0, rows.shape[1], width):
                block = lines, slice(first, first + width)
                distances[block] = self._compared(queries[lines], rows[block])
        return distances

    def _compared(self, queries: Float32, rows: Int64) -> Float32:
        """Return `distances` of one block."""
        there = rows >= 0
        if there.all():
            vectors = self._decode(rows.ravel()).reshape(*rows.shape, -1)
            return pairs.distances_of_each(queries, vectors, self._metric)
        distances = np.full(rows.shape, np.inf, np.float32)
        lines, places = np.nonzero(there)
        distances[lines, places] = self._pairs(queries, lines, rows[lines, places])
        return distances

    def nearest(self, queries: Float32, rows: Int64, k: int) -> Float32:
        """Return `distances`, but infinity for rows that are certainly not among the k nearest of those found."""
        if rows.shape[1] <= k + _FEW:
            # Excluding a few rows would cost more than comparing them.
            return self.distances(queries, rows)
        distances = np.full(rows.shape, np.inf, np.float32)
        step = max(1, _CACHED // max(1, rows.shape[1] * queries.shape[1]))
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            near = self._maybe_nearest(queries[some], rows[some], k)
            distances[some] = self.distances(queries[some], np.where(near, rows[some], -1))
        return distances

    def _maybe_nearest(self, queries: Float32, rows: Int64, k: int) -> npt.NDArray[np.bool_]:
        """Return which of the found rows (n, m) may be among the k nearest, by float32 and its error bound."""
        there = rows >= 0
        if rows.shape[1] <= k:
            return there
        vectors = self._decode(np.maximum(rows, 0).ravel()).reshape(*rows.shape, -1)
        if self._metric == "cosine":
            costs = -np.matmul(vectors, queries[:, :, None])[:, :, 0]
        else:
            vectors -= queries[:, None]
            costs = np.einsum("nmd,nmd->nm", vectors, vectors)
        costs = np.where(there, costs, np.inf).astype(np.float64)
        last = np.partition(costs, k - 1, axis=1)[:, k - 1]
        norms = np.sqrt(rowwise.squared_norms(queries))
        error = score_error(queries.shape[1], norms, np.sqrt(np.maximum(last, 0)), self._metric)
        near: npt.NDArray[np.bool_] = there & (costs <= (last + 2 * error)[:, None])
        return near

    def among(self, queries: Float32, rows: Sequence[Int64]) -> list[Float32]:
        """Return the distances of each query to its rows, many of which may be copies of one image.

        Equal vectors are compared once for each query, so a thousand copies cost little more than
        one.
        """
        seen = np.zeros(1 + max(int(each.max(initial=0)) for each in rows), np.bool_)
        for each in rows:
            seen[each] = True
        distinct = np.flatnonzero(seen)
        group, first = self._copies(distinct)
        group_of = np.zeros(len(seen), np.int64)
        group_of[distinct] = group
        theirs = [_distinct(group_of[each], len(first)) for each in rows]
        lines = np.repeat(np.arange(len(rows)), [len(each) for each in theirs])
        compared = first[np.concatenate(theirs)]
        away = np.empty(len(lines), np.float32)
        for start in range(0, len(lines), _DECODED):
            some = slice(start, start + _DECODED)
            away[some] = self._pairs(queries, lines[some], compared[some])
        ends = np.cumsum([len(each) for each in theirs])[:-1]
        out, by_group = [], np.empty(len(first), np.float32)
        for each, groups, values in zip(rows, theirs, np.split(away, ends), strict=True):
            by_group[groups] = values
            out.append(by_group[group_of[each]])
        return out

    def _copies(self, rows: Int64) -> tuple[Int64, Int64]:
        """Return for each row the number of its group of equal vectors, and one row of each group."""
        numbers: dict[bytes, int] = {}
        group = np.empty(len(rows), np.int64)
        for start in range(0, len(rows), _DECODED):
            for place, vector in enumerate(self._decode(rows[start : start + _DECODED]), start):
                digest = hashlib.blake2b(vector, digest_size=16).digest()
                group[place] = numbers.setdefault(digest, len(numbers))
        first = np.empty(len(numbers), np.int64)
        first[group[::-1]] = rows[::-1]
        return group, first

    def _pairs(self, queries: Float32, lines: Int64, rows: Int64) -> Float32:
        return pairs.distances(queries, lines, self._decode(rows), np.arange(len(rows)), self._metric)


def _distinct(numbers: Int64, count: int) -> Int64:
    """Return the distinct values of `numbers`, all below `count`, ascending."""
    # Counting is faster than sorting if `count` is small.
    return np.flatnonzero(np.bincount(numbers)) if count <= 4 * len(numbers) else np.unique(numbers)
