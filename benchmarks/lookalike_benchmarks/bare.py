"""A collection's index searched in this process, the baseline for the service."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import faiss

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.indexing.params import search_parameters
from lookalike_server.placement.devices import Device


@dataclass(frozen=True)
class Searched:
    """Times of searching batches of one size: seconds of each call, and CPU seconds of a query."""

    batch: int
    call_s: list[float]
    cpu_s: float

    @property
    def queries_per_s(self) -> float:
        return self.batch * len(self.call_s) / sum(self.call_s)

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.call_s) * 1e3


class Bare:
    """A stored index on a device, searched by faiss with the default nprobe or efSearch of the collection."""

    def __init__(self, reader: CollectionReader, device: Device) -> None:
        self.entry = reader.index()
        self._index = device.host(read_index(reader, self.entry))
        self._effort = self.entry.default_nprobe
        self._parameters = search_parameters(self._index, self._effort) if self._effort else None
        # faiss's own parameters of such an index give no candidates for the second stage beyond k.
        stages = two_stage.is_two_stage(self._index)
        self._two_stage = two_stage.TwoStageSearch(self._index, self.entry.metric == "cosine") if stages else None

    def search(self, queries: Float32, k: int) -> None:
        if self._two_stage is None:
            self._index.search(queries, k, params=self._parameters)
            return
        kept = two_stage.kept_by(faiss.downcast_index(self._index), self._effort)
        self._two_stage(queries, k, two_stage.candidates_for(k, int(self._index.ntotal), kept), self._effort)

    def measure(
        self, queries: Float32, k: int, batch: int, seconds: float, threads: int, pause_s: float = 0
    ) -> Searched:
        """Search batches of the queries in turn for `seconds`, with `threads` threads and a pause after each batch."""
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)
        try:
            return self._measured(queries, k, batch, seconds, pause_s)
        finally:
            faiss.omp_set_num_threads(before)

    def _measured(self, queries: Float32, k: int, batch: int, seconds: float, pause_s: float) -> Searched:
        batches = [queries[start : start + batch] for start in range(0, len(queries) - batch + 1, batch)]
        for some in batches[:2]:
            self.search(some, k)
        taken: list[float] = []
        cpu, end = time.process_time(), time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            self.search(batches[len(taken) % len(batches)], k)
            taken.append(time.perf_counter() - began)
            if pause_s:
                time.sleep(pause_s)
        return Searched(batch, taken, (time.process_time() - cpu) / (batch * len(taken)))
