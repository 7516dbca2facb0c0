"""Exact neighbors of queries, found on the machines of a cluster: each machine compares some parts of the space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.machines.work import Advance, Work
from lookalike_indexer.vectors.exact import BestResults, exact_search

# Parts of one item: a result is as large as that of the whole space.
_PARTS: Final = 16
# A row's number on a machine is its place in the part, plus the part's place times this.
_STRIDE: Final = 1 << 32


def exact_on_machines(
    machines: Machines, reader: CollectionReader, space: str, queries: Float32, k: int, metric: Metric, advance: Advance
) -> tuple[Int64, Float32]:
    """Return the k nearest rows of queries (nq, dim) in a space, as `exact_search` does, with the same bytes.

    The result does not depend on the number of machines: each pair is compared on its own, and results are merged by
    distance, then by row. Deleted images are left out. Errors are those of `Machines.run`.
    """
    parts = reader.manifest.spaces[space].parts
    items = [(start, tuple(parts[start : start + _PARTS])) for start in range(0, len(parts), _PARTS)]
    make = _Searching(reader.storage, reader.manifest, queries, k, metric)
    best = BestResults.none(len(queries), k)
    lengths = np.zeros(len(parts) + 1, np.int64)
    for found in machines.run(make, items, advance, "exact neighbors of parts from"):
        query, place = np.nonzero(found.rows >= 0)
        best.add(query, found.rows[query, place], found.distances[query, place])
        lengths[found.start + 1 : found.start + 1 + len(found.lengths)] = found.lengths
    starts = lengths.cumsum()
    rows = np.where(best.rows >= 0, starts[best.rows // _STRIDE] + best.rows % _STRIDE, -1)
    return rows, best.distances


@dataclass(frozen=True)
class _Found:
    """Result for some parts, from the one at place `start`: rows and distances (nq, k), and the parts' lengths."""

    start: int
    rows: Int64
    distances: Float32
    lengths: list[int]


@dataclass(frozen=True)
class _Searching:
    """Factory of a worker's function."""

    storage: Storage
    manifest: Manifest
    queries: Float32
    k: int
    metric: Metric

    def __call__(self) -> Work[tuple[int, tuple[str, ...]], _Found]:
        reader = CollectionReader(self.storage, self.manifest)

        def work(items: Iterator[tuple[int, tuple[str, ...]]], advance: Advance) -> Iterator[_Found]:
            for start, paths in items:
                lengths = [0] * len(paths)

                def numbered(
                    start: int = start, paths: tuple[str, ...] = paths, lengths: list[int] = lengths
                ) -> Iterator[tuple[Int64, Float32]]:
                    for place, path in enumerate(paths):
                        for ids, vectors in reader.living_ahead([path]):
                            first = (start + place) * _STRIDE + lengths[place]
                            yield np.arange(first, first + len(ids)), vectors
                            lengths[place] += len(ids)
                            advance(len(ids))

                rows, distances = exact_search(numbered(), self.queries, self.k, self.metric)
                yield _Found(start, rows, distances, lengths)

        return work
