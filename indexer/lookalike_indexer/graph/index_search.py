"""Finder of the nearest neighbors of a group's images by the candidates of an index."""

from __future__ import annotations

import math

import faiss
import numpy as np

from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.graph.groups import Group
from lookalike_indexer.graph.lists import Neighbors, nearest
from lookalike_indexer.graph.rescoring import rescored
from lookalike_indexer.indexing.recall_ladder import nprobe_for_k
from lookalike_indexer.indexing.two_stage import searched
from lookalike_indexer.progress import Bar
from lookalike_indexer.vectors.metric import prepare

# Queries per search of an index.
_BATCH = 1024


class IndexSearch:
    """Takes candidates of an index, more than requested, and compares them by stored embeddings."""

    def __init__(self, reader: CollectionReader, entry: IndexEntry, index: faiss.Index) -> None:
        # Including deleted images, which the index contains as well.
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
