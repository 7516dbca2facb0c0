"""pynndescent: the k-nearest-neighbor graph by nearest-neighbor descent."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
from pynndescent import NNDescent

from lookalike_indexer.arrays import Float32, Int64


class Pynndescent:
    """Answers only queries for all stored vectors at once. An effort is the number of neighbors in its graph."""

    efforts = (20, 24, 32, 48, 64)

    def __init__(self) -> None:
        # Compile its functions, which happens at the first call.
        NNDescent(np.random.default_rng(0).random((300, 16), np.float32), metric="cosine", n_neighbors=20)

    def build(self, vectors: Float32, folder: Path) -> None:
        """Keep the vectors: a search builds the graph."""
        self._vectors = vectors

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        if len(queries) != len(self._vectors):
            raise ValueError("it answers all stored vectors at once")
        graph = NNDescent(self._vectors, metric="cosine", n_neighbors=effort, random_state=1).neighbor_graph[0]
        ids: Int64 = graph[:, :k].astype(np.int64)
        return ids

    def about(self) -> dict[str, Any]:
        return {"version": importlib.metadata.version("pynndescent"), "index": "n_neighbors is the effort"}

    def close(self) -> None:
        pass


make = Pynndescent
