"""pynndescent: the k-nearest-neighbor graph by nearest-neighbor descent."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
from pynndescent import NNDescent

from lookalike_indexer.arrays import Float32, Int64

_NEIGHBORS = 32


class Pynndescent:
    """Answers only queries for all stored vectors at once, from the graph built of them."""

    efforts = (_NEIGHBORS,)

    def __init__(self) -> None:
        # Compile its functions, which happens at the first call.
        NNDescent(np.random.default_rng(0).random((300, 16), np.float32), metric="cosine", n_neighbors=_NEIGHBORS)

    def build(self, vectors: Float32, folder: Path) -> None:
        self._graph = NNDescent(vectors, metric="cosine", n_neighbors=_NEIGHBORS, random_state=1).neighbor_graph[0]

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        if len(queries) != len(self._graph):
            raise ValueError("it answers all stored vectors at once")
        ids: Int64 = self._graph[:, :k].astype(np.int64)
        return ids

    def about(self) -> dict[str, Any]:
        return {"version": importlib.metadata.version("pynndescent"), "index": f"n_neighbors {_NEIGHBORS}"}

    def close(self) -> None:
        pass


make = Pynndescent
