"""Graph of the images added since a generation was made.

Comparing a query with 20,000 of them takes longer than searching an index of 100,000. A background thread adds them to
a graph in memory, a few at a time between searches; a search compares those that the graph does not have yet. If
vectors have many dimensions, the graph holds their projection to principal components, which finds candidates. It takes
the projection of the generation's index if there is one. Later images may differ from those that gave the components.
If a search does not find the neighbors of the last images, the thread therefore computes components of the images
themselves, and a graph of them. It computes those again each time the images have doubled.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from collections.abc import Iterable, Iterator

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.indexing.projection import transform
from lookalike_indexer.indexing.two_stage import Projection
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import faiss_metric
from lookalike_server.live.grown import Grown

log = logging.getLogger(__name__)

# Fewer vectors are compared faster than a graph would be searched.
LEAST = 1024
# Rows added at once, of components and of whole vectors. A search waits for them, some milliseconds at most.
_COMPONENTS_STEP, _STEP = 16, 8
_LINKS, _BUILD_EFFORT = 32, 80
# Candidates that a deep search keeps: at least this many, and this many per wanted neighbor. More are kept if these
# would miss too many of the sample's nearest neighbors: vectors without any structure need nearly all of them.
_EFFORT, _EFFORT_FOR_EACH = 64, 4
# The same for a quick search, which keeps more if it would miss too many of the nearest few.
_QUICK_EFFORT, _QUICK_EFFORT_FOR_EACH, _QUICK_GROWTH = 16, 1.6, 1.5
# Size of the sample of the last rows that measures the recall, and the number of neighbors of each.
_SAMPLE, _NEIGHBORS, _RECALL = 32, 10, 0.99
_FEW_NEIGHBORS, _RECALL_OF_FEW = 3, 0.95
# Number of components, least dimension of vectors that have some, and number of rows that they are computed from.
_COMPONENTS, _PROJECTED_FROM, _TRAINED_ON = 256, 512, 1024
# Rows newer than a view may take the places of its own in a result. If there are more than this, it compares instead.
_MOST_NEWER = 64
# Growth of the number of rows after which the recall by components is measured again.
_LOOK_AGAIN = 1.25
# Largest error of a distance to half-precision codes: of a unit vector, and as a share of other distances.
_ROUNDING = 2**-10
# Search parameters to keep: making them takes a tenth of a quick search.
_MOST_PARAMETERS = 256
# Searches of other processes have priority.
_NICENESS = 10


class LiveGraph:
    """Search of rows that one thread appends while others search. `rows` are prepared for the metric."""

    def __init__(self, rows: Grown[np.float32], metric: Metric, projection: Projection | None = None) -> None:
        """`projection` is that of the generation's index, None if it has none."""
        self._rows = rows
        self._metric: Metric = metric
        dim = rows.values.shape[1]
        self._projects = dim >= _PROJECTED_FROM
        # True if components are those of the rows themselves.
        self._own = self._projects and projection is None
        self._graph = _Graph(dim, metric, projection.linear if self._projects and projection is not None else None)
        # The owner of the transform.
        self._projection = projection
        # Held while the graph is changed or searched, because faiss allows no search while it grows.
        self._lock = threading.Lock()
        # Held while the thread starts or ends.
        self._begin = threading.Lock()
        self._grows = False
        self._broken = False
        # Candidates that deep searches keep (0: not measured yet), and the number of rows at which to measure again.
        self._effort = 0
        self._quick_effort = _QUICK_EFFORT
        self._look_at = LEAST
        # Number of rows at which their own components are computed again in any case.
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

    def candidates(self, queries: Float32, k: int, rows: int, *, deep: bool) -> tuple[int, Int64, Float32] | None:
        """Return how many of the first `rows` rows it covers, and candidates for the k nearest of these.

        See CandidateFinder. None if comparing costs no more.
        """
        with self._lock:
            count = self.count
            newer = max(0, count - rows)
            most = max(self._effort, _EFFORT_FOR_EACH * k)
            if not self._effort or newer > _MOST_NEWER or most * _LINKS > count:
                return None
            effort = most if deep else min(most, max(self._quick_effort, math.ceil(_QUICK_EFFORT_FOR_EACH * k)))
            found, bounds = self._graph.near(queries, effort + newer)
        # A view must not get rows that were added later.
        return min(count, rows), np.where(found < rows, found, -1) if newer else found, bounds

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
            enough = self._share(graph, queries, true, effort) >= _RECALL
            if enough:
                break
        quick = _QUICK_EFFORT
        few = true[:, 1 : 1 + _FEW_NEIGHBORS]
        while quick < effort and self._share(graph, queries, few, quick) < _RECALL_OF_FEW:
            quick = round(_QUICK_GROWTH * quick)
        with self._lock:
            # If none is enough, the last effort is too high for a graph, and `candidates` returns None.
            self._graph, self._effort, self._quick_effort = graph, effort, quick
            self._look_at = math.ceil((_LOOK_AGAIN if self._projects else 2) * count)
        return enough

    def _share(self, graph: _Graph, queries: Float32, neighbors: Int64, effort: int) -> float:
        """Return the share of neighbors (n, m) of the queries, which are rows, that a search finds."""
        with self._lock:
            found, _ = graph.near(queries, min(effort + 1, graph.count))
        return float(np.mean([np.isin(one, other).mean() for one, other in zip(neighbors, found, strict=True)]))

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
        if self._own and len(self._rows) >= self._renew_at:
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
        if self._own:
            if self._effort * _LINKS > self.count:
                # Searches compare all rows, until there are many more.
                self._look_at = self._renew_at
            elif not self._look(self._graph, [self._effort]):
                self._renew()
        elif not self._look(self._graph, _efforts(self.count)) and self._projects:
            # The components of the index do not tell these images apart.
            self._own = True
            self._renew()

    def _renew(self) -> bool:
        """Make a graph of all rows by their own components while searches use the earlier one. Return True."""
        rows = self._rows.values
        graph = _Graph(rows.shape[1], self._metric, transform(_components(rows)))
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
    """Graph of vectors, or of their projection by `linear`, which is followed by codes of whole vectors."""

    def __init__(self, dim: int, metric: Metric, linear: faiss.LinearTransform | None) -> None:
        self._metric: Metric = metric
        self._linear = linear
        self._parameters: dict[int, faiss.SearchParameters] = {}
        width = dim if linear is None else int(linear.d_out)
        kind = faiss_metric(metric) if linear is None else faiss.METRIC_L2
        graph: faiss.Index
        if metric == "cosine":
            # Unit vectors, so float16 is enough to find candidates. Their distances are recomputed.
            graph = faiss.IndexHNSWSQ(width, faiss.ScalarQuantizer.QT_fp16, _LINKS, kind)
        else:
            graph = faiss.IndexHNSWFlat(width, _LINKS, kind)
        graph.is_trained = True
        graph.hnsw.efConstruction = _BUILD_EFFORT
        self._index = graph
        if linear is not None:
            projected = faiss.IndexPreTransform(linear, graph)
            codes = faiss.index_factory(dim, "SQfp16" if metric == "cosine" else "Flat", faiss.METRIC_L2)
            codes.is_trained = projected.is_trained = True
            self._index = faiss.IndexRefine(projected, codes)

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    def add(self, rows: Float32) -> None:
        self._index.add(np.ascontiguousarray(rows))

    def near(self, queries: Float32, effort: int) -> tuple[Int64, Float32]:
        """Return the candidates (n, effort) that a search keeps, and lower bounds of their distances."""
        costs, places = self._index.search(queries, effort, params=self._parameters_for(effort))
        if self._metric == "l2":
            return places, np.sqrt(costs) * np.float32(1 - _ROUNDING)
        if self._linear is None:
            return places, 1 - costs - np.float32(_ROUNDING)
        lengths = np.maximum(np.sqrt(costs) - np.float32(_ROUNDING), 0)
        return places, lengths * lengths / 2

    def _parameters_for(self, effort: int) -> faiss.SearchParameters:
        if effort not in self._parameters:
            if len(self._parameters) >= _MOST_PARAMETERS:
                self._parameters.clear()
            parameters: faiss.SearchParameters = faiss.SearchParametersHNSW(efSearch=effort)
            if self._linear is not None:
                parameters = faiss.SearchParametersPreTransform(index_params=parameters)
                parameters = faiss.IndexRefineSearchParameters(k_factor=1, base_index_params=parameters)
            self._parameters[effort] = parameters
        return self._parameters[effort]


def _components(rows: Float32) -> Float32:
    """Return the first principal components of a sample of rows, (components, dim)."""
    count = min(_TRAINED_ON, len(rows))
    sample = rows[np.sort(np.random.default_rng(0).choice(len(rows), count, replace=False))]
    centered = sample - sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    # Eigenvectors of the products of the rows, because rows are fewer than dimensions.
    values, directions = np.linalg.eigh(centered @ centered.T)
    largest = directions[:, ::-1][:, :_COMPONENTS]
    lengths = np.sqrt(np.maximum(values[::-1][:_COMPONENTS], np.finfo(np.float32).tiny))
    return np.ascontiguousarray((largest / lengths).T @ centered)
