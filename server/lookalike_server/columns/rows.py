"""Images that the rows of a served index stand for, and the images of its space that it lacks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors import pairs
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.row_mask import Remaining
from lookalike_server.columns.stored_vectors import StoredVectors

# This many vectors of 2,048 dimensions take 64 MiB and a few milliseconds per search. An index that lacks more must be
# rebuilt.
MOST_BESIDE = 8_192
# Up to this share of the embeddings, reading them one by one is faster than reading all.
_ONE_BY_ONE = 0.05
_BLOCK = 4096
# The largest share that a mask may exclude.
_MOST_LEFT_OUT = 0.5
# A quick search is enough if at most this many of the vectors, or half of k, may be among the k nearest.
_FEW = 3
_NONE = np.empty(0, np.bool_)


class Rows:
    """Images of a served space: row i is the image `ids[i]`.

    Deleted images have rows too; `live` allows only the others. The first `indexed` rows are the
    index's entries, in its order. The other `lacking` rows are images embedded after the index was
    built.
    """

    def __init__(
        self, reader: CollectionReader, entry: IndexEntry, space_ids: Int64, stored: StoredVectors | None = None
    ) -> None:
        # Rows cover the images of parts and indexes, including deleted ones.
        self._reader = reader.whole
        self._stored = stored or StoredVectors(reader, entry.space)
        self._space = entry.space
        parts = reader.manifest.parts_of(entry)
        whole = parts == reader.manifest.spaces[entry.space].parts
        indexed = space_ids if whole else reader.ids_of(parts)
        self._added = np.flatnonzero(~np.isin(space_ids, indexed))
        self.ids: Int64 = np.concatenate([indexed, space_ids[self._added]])
        self.indexed = len(indexed)
        live = reader.live(self.ids)
        # Rows that every search may find; None if that is all.
        self.live = None if live.all() else Remaining(live)
        # Usually the images are in the order of their ids, and no order is stored.
        self._order = None if np.array_equal(self.ids, space_ids) else np.argsort(self.ids, kind="stable")

    @property
    def images(self) -> int:
        """Number of images of the space that are not deleted."""
        return len(self.ids) if self.live is None else self.live.count

    @property
    def lacking(self) -> int:
        """Number of images of the space that the index lacks."""
        return len(self._added)

    def beside(self, metric: Metric) -> UnindexedVectors | None:
        """Return the search of the images that the index lacks, or None if it lacks none or more than MOST_BESIDE."""
        if not 0 < self.lacking <= MOST_BESIDE:
            return None
        vectors = prepare(self._reader.vectors(self._space, self._added), metric)
        return UnindexedVectors(vectors, self.indexed, metric, prepared=True)

    def blocks(
        self, wanted: Bools | None = None, places: tuple[int, int] | None = None
    ) -> Iterator[tuple[Int64, Float32]]:
        """Yield (rows, embeddings) of all images of the space as currently stored, one block at a time.

        With `wanted` (images,), other images may be left out: a few wanted ones are read one by
        one. With `places`, only what is stored in `[places[0], places[1])`.
        """
        if wanted is not None and np.count_nonzero(wanted) <= _ONE_BY_ONE * len(wanted):
            rows = self._stored_in(np.flatnonzero(wanted), places)
            for some in np.split(rows, range(_BLOCK, len(rows), _BLOCK)):
                at = some if self._order is None else np.searchsorted(self.ids, self.ids[some], sorter=self._order)
                yield some, self._stored.read(at)
            return
        start = 0 if places is None else places[0]
        for ids, vectors in self._streamed(places):
            if self._order is None:
                yield np.arange(start, start + len(ids), dtype=np.int64), vectors
            else:
                yield self._order[np.searchsorted(self.ids, ids, sorter=self._order)].astype(np.int64), vectors
            start += len(ids)

    def _stored_in(self, rows: Int64, places: tuple[int, int] | None) -> Int64:
        """Return those of some rows that are stored in the range `places`."""
        if places is None:
            return rows
        at = rows if self._order is None else np.searchsorted(self.ids, self.ids[rows], sorter=self._order)
        return rows[(at >= places[0]) & (at < places[1])]

    def _streamed(self, places: tuple[int, int] | None) -> Iterator[tuple[Int64, Float32]]:
        """Yield the ids and embeddings at a range of places, one block at a time. Reads only the parts needed."""
        if places is None:
            yield from self._reader.stream(self._space)
            return
        start, manifest = 0, self._reader.manifest
        for path in manifest.spaces[self._space].parts:
            stop = start + (manifest.files[path].rows or 0)
            if stop > places[0] and start < places[1]:
                for ids, vectors in self._reader.stream_part(path):
                    here = slice(max(0, places[0] - start), max(0, places[1] - start))
                    if len(ids[here]):
                        yield ids[here], vectors[here]
                    start += len(ids)
            start = stop


class CandidateFinder(Protocol):
    """Finds candidates among the first vectors of UnindexedVectors."""

    def candidates(self, queries: Float32, k: int, rows: int, *, deep: bool) -> tuple[int, Int64, Float32] | None:
        """Return how many of the first `rows` vectors it covers, and candidates for the k nearest of these.

        The candidates are places (n, m), padded with -1, and lower bounds (n, m) of their distances.
        Without `deep`, it may miss some of the neighbors except the nearest ones. Return None if all
        vectors must be compared.
        """
        ...


class UnindexedVectors:
    """A few vectors (n, dim) that no index holds, as the rows from `first` on.

    They are searched exactly, unless `near` finds candidates among them.
    """

    def __init__(
        self,
        vectors: Float32,
        first: int,
        metric: Metric,
        *,
        prepared: bool = False,
        near: CandidateFinder | None = None,
    ) -> None:
        """`prepared`: the vectors are already in the form the metric compares, which `near` requires."""
        self.vectors = vectors
        self.rows = np.arange(first, first + len(vectors), dtype=np.int64)
        self._metric: Metric = metric
        self._prepared = prepared
        self._near = near

    def merged(
        self,
        queries: Float32,
        rows: Int64,
        distances: Float32,
        allowed: Sequence[Bools] | None = None,
        *,
        thorough: bool = False,
    ) -> tuple[Int64, Float32]:
        """Merge an index's hits with these vectors: the nearest of both, (n, k), nearest first, ties by row.

        `queries` (n, dim) are prepared for the metric. `rows` and `distances` (n, k) are the
        index's hits. `allowed` has a boolean for each row of the space, for each query. With
        `thorough`, `near` is not searched quickly first.
        """
        k = rows.shape[1]
        known, found = self._candidates(queries, k, distances[:, -1:], allowed, thorough)
        more = [] if found is None else [found]
        if known < len(self.rows):
            block = (self.rows[known:], self.vectors[known:])
            count = min(k, len(self.rows) - known)
            more.append(exact_search([block], queries, count, self._metric, allowed, prepared=self._prepared))
        if not more:
            return rows, distances
        rows = np.concatenate([rows, *(one[0] for one in more)], axis=1)
        distances = np.concatenate([distances, *(one[1] for one in more)], axis=1)
        order = np.lexsort((rows, distances), axis=1)[:, :k]
        lines = np.arange(len(rows))[:, None]
        return rows[lines, order], distances[lines, order]

    def _candidates(
        self, queries: Float32, k: int, limits: Float32, allowed: Sequence[Bools] | None, thorough: bool
    ) -> tuple[int, tuple[Int64, Float32] | None]:
        """Return how many vectors need no comparison, and the rows and distances of those within `limits` (n, 1)."""
        if self._near is None:
            return 0, None
        mask, gone = None, 0
        if allowed is not None:
            if any(one is not allowed[0] for one in allowed):
                return 0, None
            first = int(self.rows[0])
            mask = allowed[0][first : first + len(self.rows)]
            gone = len(self.rows) - int(np.count_nonzero(mask))
            # If a filter excludes most of them, comparing the others is cheaper.
            if gone > _MOST_LEFT_OUT * len(self.rows):
                return 0, None
        wanted = math.ceil(k * len(self.rows) / (len(self.rows) - gone))
        wanted += min(gone, wanted)
        few = max(_FEW, k // 2)
        told = self._searched(self._near, queries, wanted, mask, deep=thorough)
        if told is None:
            return 0, None
        known, places, bounds, complete = told
        there = bounds <= limits
        lacking = _NONE if complete else _lack(bounds, min(k, known))
        if not thorough and (lacking.any() or np.count_nonzero(there) > few):
            # A quick search finds the few vectors among the nearest. It may miss some if they are most of the nearest.
            again = there.sum(axis=1) > few
            lines = np.flatnonzero(again | lacking if len(lacking) else again)
            if len(lines):
                told = self._searched(self._near, np.ascontiguousarray(queries[lines]), wanted, mask, deep=True)
                if told is None:
                    return 0, None
                known = min(known, told[0])
                places, bounds = _replaced(places, lines, told[1], 0), _replaced(bounds, lines, told[2], np.nan)
                bounds[places >= known] = np.nan
                there, lacking = bounds <= limits, _lack(bounds, min(k, known))
        if lacking.any():
            # The excluded vectors are neighbors of each other, so too few candidates are left.
            return 0, None
        lines, columns = there.nonzero()
        if not len(lines):
            return known, None
        found = places[lines, columns]
        exact = pairs.distances(queries, lines, self.vectors, found, self._metric)
        first = self.rows[0]
        if len(queries) == 1:
            return known, (found[None] + first, exact[None])
        distances = np.full(places.shape, np.inf, np.float32)
        distances[lines, columns] = exact
        return known, (np.where(there, places + first, -1), distances)

    def _searched(
        self, near: CandidateFinder, queries: Float32, wanted: int, mask: Bools | None, *, deep: bool
    ) -> tuple[int, Int64, Float32, bool] | None:
        """Return the candidates as `near` does, and whether there is one in each place.

        A bound is NaN if there is no candidate, or `mask` excludes it.
        """
        told = near.candidates(queries, wanted, len(self.rows), deep=deep)
        if told is None:
            return None
        known, places, bounds = told
        if mask is None and places.min(initial=0) >= 0:
            return known, places, bounds, places.shape[1] >= wanted
        there = places >= 0 if mask is None else (places >= 0) & mask[places]
        return known, places, np.where(there, bounds, np.float32(np.nan)), False


def _lack(bounds: Float32, wanted: int) -> Bools:
    """Return which queries have fewer candidates than wanted."""
    found: Bools = np.count_nonzero(bounds == bounds, axis=1) < wanted
    return found


def _replaced(values: Any, lines: Int64, others: Any, missing: float) -> Any:
    """Return `values` (n, m) with other values in some lines. All lines become as long as the longest."""
    wide = np.full((len(values), max(values.shape[1], others.shape[1])), missing, values.dtype)
    wide[:, : values.shape[1]] = values
    wide[lines] = missing
    wide[lines, : others.shape[1]] = others
    return wide
