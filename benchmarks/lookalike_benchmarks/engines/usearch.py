"""usearch: an HNSW graph in memory, of half-precision vectors."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from lookalike_benchmarks.engines.shape import GRAPH_BUILD_EFFORT, GRAPH_EFFORTS, GRAPH_LINKS
from lookalike_indexer.arrays import Float32, Int64


class Usearch:
    efforts = GRAPH_EFFORTS

    def build(self, vectors: Float32, folder: Path) -> None:
        self._index = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f16",
            connectivity=GRAPH_LINKS,
            expansion_add=GRAPH_BUILD_EFFORT,
        )
        self._index.add(np.arange(len(vectors)), vectors)
        self._index.save(str(folder / "index"))

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        self._index.expansion_search = effort
        found = self._index.search(queries, k)
        ids: Int64 = found.keys.astype(np.int64).reshape(len(queries), -1)
        return ids

    def about(self) -> dict[str, Any]:
        version = importlib.metadata.version("usearch")
        return {"version": version, "index": f"HNSW{GRAPH_LINKS}, fp16, expansion_add {GRAPH_BUILD_EFFORT}"}

    def close(self) -> None:
        pass


make = Usearch
