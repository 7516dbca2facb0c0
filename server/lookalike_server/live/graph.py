"""Graph of the images added since a generation was made.

Comparing a query with 20,000 of them takes longer than searching an index of 100,000. So a thread
adds them to a graph in memory, a few at a time between searches. Those not added yet are compared.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
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
# Vectors added at once. A search waits for them, some milliseconds.
_STEP = 8
_LINKS, _BUILD_EFFORT = 32, 80
# Candidates that a search keeps: at least this many, and this many per wanted neighbor. More are kept if these would
# miss too many of the sample's nearest neighbors: vectors without any structure need nearly all of them.
_EFFORT, _EFFORT_FOR_EACH = 64, 4
_SAMPLE, _NEIGHBORS, _RECALL = 32, 10, 0.99
# Rows newer than a view may take the places of its own in a result. If there are more than this, it compares instead.
_MOST_NEWER = 64
# Searches of other processes have priority.
_NICENESS = 10


class LiveGraph:
    """Search of rows that one thread appends while others search. `rows` are prepared for the metric."""

    def __init__(self, rows: Grown[np.float32], metric: Metric) -> None:
        self._rows = rows
        dim = rows.values.shape[1]
        self._index: Any
        if metric == "cosine":
            # Unit vectors, so float16 is enough to find candidates. Their distances are recomputed.
            self._index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, _LINKS, faiss_metric(metric))
            self._index.is_trained = True
        else:
            self._index = faiss.IndexHNSWFlat(dim, _LINKS, faiss_metric(metric))
        self._index.hnsw.efConstruction = _BUILD_EFFORT
        # Held while the graph is changed or searched, because faiss allows no search while it grows.
        self._lock = threading.Lock()
        # Held while the thread starts or ends.
        self._begin = threading.Lock()
        self._grows = False
        self._broken = False
        self._metric: Metric = metric
        # Candidates that searches keep (0: not measured yet), and the number of rows at which to measure again.
        self._effort = 0
        self._look_at = LEAST

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
        return int(self._index.ntotal)

    def candidates(self, queries: Float32, k: int, rows: int) -> tuple[int, Int64] | None:
        """Return how many of the first `rows` rows it covers, and about k nearest (n, k) of each query, padded with -1.

        Return None if comparing costs no more.
        """
        with self._lock:
            count = self.count
            newer = max(0, count - rows)
            effort = max(self._effort, _EFFORT_FOR_EACH * k)
            if not self._effort or newer > _MOST_NEWER or effort * _LINKS > count:
                return None
            found = self._near(queries, min(count, k + newer), effort + newer)
        # A view must not get rows that were added later.
        return min(count, rows), np.where(found < rows, found, -1)

    def _near(self, queries: Float32, k: int, effort: int) -> Int64:
        rows: Int64 = self._index.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=effort))[1]
        return rows

    def _look(self) -> None:
        """Measure how many candidates a search must keep, by comparing the last rows with all."""
        count = self.count
        rows = self._rows.values[:count]
        queries = np.ascontiguousarray(rows[-_SAMPLE:])
        block = [(np.arange(count), rows)]
        # Each query also finds itself.
        true, _ = exact_search(block, queries, _NEIGHBORS + 1, self._metric, prepared=True)
        effort = _EFFORT
        while effort * _LINKS <= count:
            with self._lock:
                found = self._near(queries, _NEIGHBORS + 1, effort)
            shares = [np.isin(one, other).mean() for one, other in zip(true, found, strict=True)]
            if np.mean(shares) >= _RECALL:
                break
            effort *= 2
        self._effort, self._look_at = effort, 2 * count

    def _grow(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        # Applies only to this thread.
        faiss.omp_set_num_threads(1)
        try:
            while self._step():
                pass
        except Exception:
            log.exception("the graph of new images cannot grow; they are compared instead")
            self._broken = self._grows = True

    def _step(self) -> bool:
        """Add some rows. Return False if there are none left."""
        some = self._rows.values[self.count :][:_STEP]
        if len(some):
            with self._lock:
                self._index.add(np.ascontiguousarray(some))
            if self.count >= self._look_at:
                self._look()
            return True
        with self._begin:
            # An append from now on starts another thread.
            self._grows = self.count < len(self._rows)
            return self._grows
