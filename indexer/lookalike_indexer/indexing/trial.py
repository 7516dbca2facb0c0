"""Trying one kind of index over a sample: how much it finds, how fast, in how much memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection.manifest import Candidate
from lookalike_indexer.collection.reader import Float32, Int64
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.metric import faiss_metric
from lookalike_indexer.indexing.params import search_parameters
from lookalike_indexer.indexing.recall import AT, efforts
from lookalike_indexer.indexing.recipes import choose
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent

_BATCH = 64
# The best of several passes: another program takes time from some of them.
_PASSES = 3
# How much less similar than the tenth nearest a vector may be to count as found: the rounding of a float32 product.
_AS_NEAR = 1e-5


class Trial:
    """A sample (n, dim) and queries (nq, dim) that are not in it, both prepared for the settings' metric."""

    def __init__(self, vectors: Float32, queries: Float32, settings: BuildSettings) -> None:
        self.vectors = vectors
        self._queries = queries
        self._settings = settings

    def candidate(self, kind: str) -> Candidate:
        """What became of one kind of index, one of recipes.NAMES; its verdict is left open."""
        settings = BuildSettings(index=kind, metric=self._settings.metric, seed=self._settings.seed)
        recipe = choose(len(self.vectors), self.vectors.shape[1], settings)
        index = build.empty_index(recipe.factory, self.vectors.shape[1], settings.metric, settings.seed)
        if recipe.train_size:
            build.train(index, self.vectors[: recipe.train_size], recipe.factory, (), Silent())
        index.add(self.vectors)
        nprobe, recall = self._effort(index)
        stored = len(faiss.serialize_index(index)) / len(self.vectors)
        return Candidate(kind, recipe.factory, nprobe, recall, self._speed(index, nprobe), stored, "")

    def _effort(self, index: faiss.Index) -> tuple[int, float]:
        """The least effort that reaches the target, with its recall; else the best one."""
        best = (0, 0.0)
        for nprobe in efforts(index):
            found = index.search(self._queries, self._k, params=search_parameters(index, nprobe))[1]
            recall = self._recall(found)
            if recall > best[1]:
                best = (nprobe, recall)
            if recall >= self._settings.target_recall:
                break
        return best

    def _speed(self, index: faiss.Index, nprobe: int) -> float:
        """Queries a second of one thread, in batches."""
        params = search_parameters(index, nprobe)
        with _one_thread():
            seconds = []
            for _ in range(_PASSES):
                began = time.perf_counter()
                for start in range(0, len(self._queries), _BATCH):
                    index.search(self._queries[start : start + _BATCH], self._k, params=params)
                seconds.append(time.perf_counter() - began)
        return len(self._queries) / min(seconds)

    @property
    def _k(self) -> int:
        return min(AT, len(self.vectors))

    def _recall(self, found: Int64) -> float:
        """The share that is among the nearest, or as near as those: duplicates may stand for one another."""
        there = found >= 0
        near = self._nearness(np.maximum(found, 0)) >= self._limits[:, None]
        return float(np.count_nonzero(there & near) / found.size)

    @functools.cached_property
    def _limits(self) -> npt.NDArray[np.float64]:
        """How near the last of each query's true neighbours is."""
        metric = faiss_metric(self._settings.metric)
        exact = faiss.IndexFlat(self.vectors.shape[1], metric)
        exact.add(self.vectors)
        nearest: npt.NDArray[np.float64] = self._nearness(exact.search(self._queries, self._k)[1]).min(axis=1)
        return nearest - _AS_NEAR

    def _nearness(self, rows: Int64) -> npt.NDArray[np.float64]:
        """What ascends as the distance of a query to some rows, shape (nq, k), falls."""
        out = np.empty(rows.shape, np.float64)
        for query, wanted in enumerate(rows):
            vectors = self.vectors[wanted]
            if self._settings.metric == "l2":
                out[query] = -np.sqrt(np.square(vectors - self._queries[query], dtype=np.float64).sum(axis=1))
            else:
                out[query] = vectors @ self._queries[query]
        return out


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
