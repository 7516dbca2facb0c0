"""Trial of one index type over a sample: its recall, speed and memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Float64, Int64
from lookalike_indexer.collection.manifest import Candidate
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.products import multiply_from_few
from lookalike_indexer.indexing.projection import TRAINED_ON, projectable, train_components
from lookalike_indexer.indexing.recall import AT, as_near, efforts, pair_distances
from lookalike_indexer.indexing.recipes import COMPONENTS, choose
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.indexing.two_stage import candidates_for, searched
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.exact import exact_search

_BATCH = 64
# Take the best of several passes, because other programs slow some of them down.
_PASSES = 3


class Trial:
    """A sample (n, dim) and queries (nq, dim) that are not in it, both prepared for the settings' metric."""

    def __init__(self, vectors: Float32, queries: Float32, settings: BuildSettings) -> None:
        self.vectors = vectors
        self._queries = queries
        self._settings = settings

    def candidate(self, kind: str) -> Candidate:
        """Return the measurements of an index type, one of recipes.NAMES; its verdict is left open."""
        settings = BuildSettings(index=kind, metric=self._settings.metric, seed=self._settings.seed)
        recipe = choose(len(self.vectors), self.vectors.shape[1], settings)
        index = build.empty_index(recipe.factory, self.vectors.shape[1], settings.metric, settings.seed)
        if recipe.train_size:
            build.train(index, self.vectors[: recipe.train_size], recipe.factory, (), Silent())
        build.add(index, self.vectors)
        nprobe, recall = self._effort(index)
        stored = len(faiss.serialize_index(index)) / len(self.vectors)
        return Candidate(kind, recipe.factory, nprobe, recall, self._speed(index, nprobe), stored, "")

    def components(self) -> list[int]:
        """Return the numbers of principal components worth a trial, of recipes.COMPONENTS; at most two.

        They are the smallest number whose candidates include enough of the true neighbors for the second stage to reach
        the target, and the next one. Empty if that takes more than half of the dimensions.
        """
        rows, dim = self.vectors.shape
        usable = [count for count in COMPONENTS if count <= min(dim // 2, rows)]
        if not usable:
            return []
        trained = train_components(self.vectors[:TRAINED_ON], usable[-1])
        stored, asked = projectable(self.vectors) @ trained.T, projectable(self._queries) @ trained.T
        # Half of the permitted loss is left to the search among the components.
        needed = (1 + self._settings.target_recall) / 2
        for place, count in enumerate(usable):
            everything = [(np.arange(rows), np.ascontiguousarray(stored[:, :count]))]
            found = exact_search(everything, asked[:, :count], candidates_for(self._k, rows), "l2")[0]
            if self._recall(found) * found.shape[1] / self._k >= needed:
                return usable[place : place + 2]
        return []

    def _effort(self, index: faiss.Index) -> tuple[int, float]:
        """Return the least effort that reaches the target, with its recall; else the best one."""
        best = (0, 0.0)
        for nprobe in efforts(index):
            found = searched(index, self._queries, self._k, nprobe)
            recall = self._recall(found)
            if recall > best[1]:
                best = (nprobe, recall)
            if recall >= self._settings.target_recall:
                break
        return best

    def _speed(self, index: faiss.Index, nprobe: int) -> float:
        """Return the queries per second of one thread, in batches."""
        # As a server does.
        multiply_from_few(int(index.d), 1)
        with _one_thread():
            seconds = []
            for _ in range(_PASSES):
                began = time.perf_counter()
                for start in range(0, len(self._queries), _BATCH):
                    searched(index, self._queries[start : start + _BATCH], self._k, nprobe)
                seconds.append(time.perf_counter() - began)
        return len(self._queries) / min(seconds)

    @property
    def _k(self) -> int:
        return min(AT, len(self.vectors))

    def _recall(self, found: Int64) -> float:
        """Return the share of found rows among the nearest, or as near as those: duplicates are interchangeable."""
        query, place = np.nonzero(found >= 0)
        away = pair_distances(self._queries, query, self.vectors, found[query, place], self._settings.metric)
        return float(np.count_nonzero(away <= self._limits[query]) / found.size)

    @functools.cached_property
    def _limits(self) -> Float64:
        """The distance of the last of each query's true neighbors, shape (nq,)."""
        everything = [(np.arange(len(self.vectors)), self.vectors)]
        return as_near(exact_search(everything, self._queries, self._k, self._settings.metric)[1][:, -1])


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
