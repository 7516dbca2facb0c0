"""hnswlib: an HNSW graph in memory."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from lookalike_benchmarks.engines.shape import GRAPH_BUILD_EFFORT, GRAPH_EFFORTS, GRAPH_LINKS
from lookalike_indexer.arrays import Float32, Int64


class Hnswlib:
    efforts = GRAPH_EFFORTS

    def build(self, vectors: Float32, folder: Path) -> None:
        self._index = hnswlib.Index("ip", vectors.shape[1])
        self._index.init_index(len(vectors), ef_construction=GRAPH_BUILD_EFFORT, M=GRAPH_LINKS)
        self._index.add_items(vectors, np.arange(len(vectors)))
        self._index.save_index(str(folder / "index"))

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        self._index.set_ef(effort)
        ids: Int64 = self._index.knn_query(queries, k)[0].astype(np.int64)
        return ids

    def about(self) -> dict[str, Any]:
        version = importlib.metadata.version("hnswlib")
        return {"version": version, "index": f"HNSW{GRAPH_LINKS}, fp32, ef_construction {GRAPH_BUILD_EFFORT}"}

    def close(self) -> None:
        pass


make = Hnswlib
