"""Graph of the images added since a generation was made.

Comparing a query with 20,000 of them takes longer than searching an index of 100,000. A background thread adds them to
a graph in memory, a few at a time between searches; a search compares those that the graph does not have yet. If
vectors have many dimensions, the graph holds their principal components, which find candidates. Later images may differ
from the first ones. The thread therefore computes new components, and a graph of them, each time the images have
doubled, or when a search does not find the neighbors of the last ones.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import faiss_metric
from lookalike_server.live.grown import Grown

log = logging.getLogger(__name__)

# Fewer vectors are compared faster than a graph would be searched.
LEAST = 1024
# Rows added at once, of components and of whole vectors. A search waits for them, some milliseconds at most.
_COMPONENTS_STEP, _STEP = 16, 8
_LINKS, _BUILD_EFFORT = 32, 80
# Candidates that a search keeps: at least this many, and this many per wanted neighbor. More are kept if these would
# miss too many of the sample's nearest neighbors: vectors without any structure need nearly all of them.
_EFFORT, _EFFORT_FOR_EACH = 64, 4
# Candidates of components that are compared, per wanted row. A search that keeps more candidates compares more.
_COMPARED = 2.5
# The sample has as many candidates beyond its neighbors as a search compares, see Beside.
_SAMPLE, _NEIGHBORS, _MARGIN, _RECALL = 32, 10, 8, 0.99
# Number of components, least dimension of vectors that have some, and number of rows that they are computed from.
_COMPONENTS, _PROJECTED_FROM, _TRAINED_ON = 256, 512, 1024
# Rows newer than a view may take the places of its own in a result. If there are more than this, it compares instead.
_MOST_NEWER = 64
# Growth of the number of rows after which the recall by components is measured again.
_LOOK_AGAIN = 1.25
# Searches of other processes have priority.
_NICENESS = 10


class LiveGraph:
    """Search of rows that one thread appends while others search. `rows` are prepared for the metric."""

    def __init__(self, rows: Grown[np.float32], metric: Metric) -> None:
        self._rows = rows
        self._metric: Metric = metric
        self._projects = rows.values.shape[1] >= _PROJECTED_FROM
        self._graph = _Graph(rows.values.shape[1], metric, None)
        # Held while the graph is changed or searched, because faiss allows no search while it grows.
        self._lock = threading.Lock()
        # Held while the thread starts or ends.
        self._begin = threading.Lock()
        self._grows = False
        self._broken = False
        # Candidates that searches keep (0: not measured yet), and the number of rows at which to measure again.
        self._effort = 0
        self._look_at = LEAST
        # Number of rows at which components are computed again in any case.
        self._renew_at = LEAST

    def follow(self) -> None:
        """Add appended rows in a thread, which ends when it has caught up. Call it after each append."""
        with self._begin:
            if self._grows or self._broken or len(self._rows) < LEAST:
                return
            self._grows = True
        threading.Thread(target=self._grow, name="live graph", daemon=True).start()

    @property
    def count(self) -> int:
        """Number of rows, from the first, that the graph contains."""
        return self._graph.count

    def candidates(self, queries: Float32, k: int, rows: int) -> tuple[int, Int64] | None:
        """Return how many of the first `rows` rows it covers, and about k nearest (n, k) of each query, padded with -1.

        None if comparing costs no more.
        """
        with self._lock:
            count = self.count
            newer = max(0, count - rows)
            effort = max(self._effort, _EFFORT_FOR_EACH * k)
            if not self._effort or newer > _MOST_NEWER or effort * _LINKS > count:
                return None
            found = self._graph.near(queries, min(count, k + newer), effort + newer, self._rows.values)
        # A view must not get rows that were added later.
        return min(count, rows), np.where(found < rows, found, -1)

    def _look(self, graph: _Graph, efforts: Iterable[int]) -> bool:
        """Choose the first of the efforts, ascending, that finds the last rows' neighbors. Return whether one does.

        Searches use `graph` from now on.
        """
        count = graph.count
        rows = self._rows.values[:count]
        queries = np.ascontiguousarray(rows[-_SAMPLE:])
        # Each query also finds itself.
        true, _ = exact_search([(np.arange(count), rows)], queries, _NEIGHBORS + 1, self._metric, prepared=True)
        enough = False
        for effort in efforts:
            with self._lock:
                found = graph.near(queries, _NEIGHBORS + 1 + _MARGIN, effort, rows)
            shares = [np.isin(one, other).mean() for one, other in zip(true, found, strict=True)]
            enough = bool(np.mean(shares) >= _RECALL)
            if enough:
                break
        with self._lock:
            # If none is enough, the last effort is too high for a graph, and `candidates` returns None.
            self._graph, self._effort = graph, effort
            self._look_at = math.ceil((_LOOK_AGAIN if self._projects else 2) * count)
        return enough

    def _grow(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        # Applies only to this thread.
        faiss.omp_set_num_threads(1)
        try:
            while self._step():
                pass
        except Exception:
            log.exception("the graph of new images cannot grow; the server compares with all of them instead")
            self._broken = self._grows = True

    def _step(self) -> bool:
        """Add some rows. Return False if there are none left."""
        if self._projects and len(self._rows) >= self._renew_at:
            return self._renew()
        step = _COMPONENTS_STEP if self._projects else _STEP
        some = self._rows.values[self.count :][:step]
        if len(some):
            with self._lock:
                self._graph.add(some)
            if self.count >= self._look_at:
                self._look_again()
            return True
        with self._begin:
            # An append from now on starts another thread.
            self._grows = self.count < len(self._rows)
            return self._grows

    def _look_again(self) -> None:
        if not self._projects:
            self._look(self._graph, _efforts(self.count))
        elif self._effort * _LINKS > self.count:
            # Searches compare all rows, until there are many more.
            self._look_at = self._renew_at
        elif not self._look(self._graph, [self._effort]):
            self._renew()

    def _renew(self) -> bool:
        """Make a graph of all rows by new components while searches use the earlier one. Return True."""
        rows = self._rows.values
        graph = _Graph(rows.shape[1], self._metric, _components(rows))
        for start in range(0, len(rows), _TRAINED_ON):
            graph.add(rows[start : start + _TRAINED_ON])
        self._look(graph, _efforts(len(rows)))
        self._renew_at = 2 * len(rows)
        return True


def _efforts(count: int) -> Iterator[int]:
    """Yield the efforts to try with a graph of `count` rows. The last one is too high for it."""
    effort = _EFFORT
    while effort * _LINKS <= count:
        yield effort
        effort *= 2
    yield effort


class _Graph:
    """Graph of vectors, or of their products with `components` (dim, components)."""

    def __init__(self, dim: int, metric: Metric, components: Float32 | None) -> None:
        self._components = components
        self._metric: Metric = metric
        self._index: Any
        if components is not None:
            self._index = faiss.IndexHNSWFlat(components.shape[1], _LINKS, faiss.METRIC_L2)
        elif metric == "cosine":
            # Unit vectors, so float16 is enough to find candidates. Their distances are recomputed.
            self._index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, _LINKS, faiss_metric(metric))
            self._index.is_trained = True
        else:
            self._index = faiss.IndexHNSWFlat(dim, _LINKS, faiss_metric(metric))
        self._index.hnsw.efConstruction = _BUILD_EFFORT

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    def add(self, rows: Float32) -> None:
        self._index.add(self._seen(rows))

    def near(self, queries: Float32, k: int, effort: int, rows: Float32) -> Int64:
        """Return about the k nearest (n, k) of `rows`, of which it contains the first `count`."""
        parameters = faiss.SearchParametersHNSW(efSearch=effort)
        if self._components is None:
            found: Int64 = self._index.search(queries, k, params=parameters)[1]
            return found
        compared = min(self.count, math.ceil(_COMPARED * k * max(1.0, effort / max(_EFFORT, _EFFORT_FOR_EACH * k))))
        places = self._index.search(self._seen(queries), max(k, compared), params=parameters)[1]
        best = np.argpartition(self._costs(queries, places, rows), k - 1, axis=1)[:, :k]
        chosen: Int64 = places[np.arange(len(places))[:, None], best]
        return chosen

    def _seen(self, rows: Float32) -> Float32:
        """Return rows or queries as the graph compares them."""
        return np.ascontiguousarray(rows if self._components is None else rows @ self._components)

    def _costs(self, queries: Float32, places: Int64, rows: Float32) -> Float32:
        """Return the float32 costs (n, m) of the rows at `places` (n, m); infinity for place -1."""
        vectors = rows[places]
        if self._metric == "cosine":
            costs = -np.matmul(vectors, queries[:, :, None])[:, :, 0]
        else:
            vectors -= queries[:, None]
            costs = np.einsum("nmd,nmd->nm", vectors, vectors)
        return np.where(places < 0, np.float32(np.inf), costs)


def _components(rows: Float32) -> Float32:
    """Return the first principal components of a sample of rows, (dim, components)."""
    count = min(_TRAINED_ON, len(rows))
    sample = rows[np.sort(np.random.default_rng(0).choice(len(rows), count, replace=False))]
    centered = sample - sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    # Eigenvectors of the products of the rows, because rows are fewer than dimensions.
    values, directions = np.linalg.eigh(centered @ centered.T)
    largest = directions[:, ::-1][:, :_COMPONENTS]
    lengths = np.sqrt(np.maximum(values[::-1][:_COMPONENTS], np.finfo(np.float32).tiny))
    return np.ascontiguousarray(centered.T @ (largest / lengths))
