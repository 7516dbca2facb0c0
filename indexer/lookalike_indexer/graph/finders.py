"""Who finds the nearest others of the images of a group: a comparison with everything, or an index.

Both give true distances between the stored embeddings, each pair on its own in float64 and rounded to float32, so that
they depend neither on blocks nor on threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.graph.groups import Group
from lookalike_indexer.graph.lists import Neighbors, nearest
from lookalike_indexer.graph.rescoring import rescored, watched
from lookalike_indexer.indexing.recall_ladder import nprobe_for_k
from lookalike_indexer.indexing.two_stage import searched
from lookalike_indexer.progress import Bar
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare

# Queries that an index is asked at a time.
_BATCH = 1024


class Finder(Protocol):
    """Finds the k nearest others of the images of a group in the whole space."""

    def __call__(self, group: Group, k: int, bar: Bar) -> Neighbors:
        """Advances the bar by the images that the group was compared with."""
        ...


class Comparison:
    """Compares with every image of some parts: exact."""

    def __init__(self, reader: CollectionReader, paths: Sequence[str], metric: Metric) -> None:
        self._reader, self._paths, self._metric = reader, paths, metric

    def __call__(self, group: Group, k: int, bar: Bar) -> Neighbors:
        # By id instead of row, so that equal distances go by id; one more for the image itself.
        ids, distances = exact_search(watched(self._blocks(), bar), group.vectors, k + 1, self._metric)
        return nearest(ids, distances, group.ids, k)

    def _blocks(self) -> Iterator[tuple[Int64, Float32]]:
        yield from self._reader.living_ahead(self._paths)


class IndexSearch:
    """Takes the candidates of an index, some more than are wanted, and compares those with the stored embeddings."""

    def __init__(self, reader: CollectionReader, entry: IndexEntry, index: faiss.Index) -> None:
        # With deleted images, which the index has as well.
        self._reader, self._entry, self._index = reader.whole, entry, index
        self._ids = self._reader.ids(entry.space)
        self._live = reader.live(self._ids)
        self._dead_share = 1 - float(self._live.mean()) if len(self._live) else 0.0

    def __call__(self, group: Group, k: int, bar: Bar) -> Neighbors:
        metric = self._entry.metric
        queries = prepare(group.vectors, metric)
        beyond = (k + 1) * self._dead_share / max(1 - self._dead_share, 1e-3)
        depth = min(k + 1 + max(8, k // 2) + math.ceil(1.5 * beyond), len(self._ids))
        effort = nprobe_for_k(self._entry, depth)
        rows = [
            searched(self._index, queries[start : start + _BATCH], depth, effort)
            for start in range(0, len(queries), _BATCH)
        ]
        candidates = np.concatenate([np.empty((0, depth), np.int64), *rows])
        distances = rescored(self._reader, self._entry.space, queries, candidates, metric, bar)
        ids = np.where((candidates < 0) | ~self._live[candidates], -1, self._ids[candidates])
        return nearest(ids, distances, group.ids, k)
