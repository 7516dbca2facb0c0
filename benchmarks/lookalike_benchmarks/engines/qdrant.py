"""Qdrant's local mode: the client alone, which compares a query with every vector."""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from lookalike_benchmarks.engines.shape import filled
from lookalike_indexer.arrays import Float32, Int64

_NAME = "vectors"


class QdrantLocal:
    # An exact search has no effort to choose.
    efforts = (0,)

    def build(self, vectors: Float32, folder: Path) -> None:
        # In memory: on disk, local mode stores a pickle of each point, which is too slow for this number.
        self._client = QdrantClient(":memory:")
        parameters = models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT)
        self._client.create_collection(_NAME, vectors_config=parameters)
        with warnings.catch_warnings():
            # Hide the warning that a server would be better for this size: local mode is what is measured.
            warnings.simplefilter("ignore")
            self._client.upload_collection(_NAME, vectors, ids=list(range(len(vectors))))

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        found = [self._client.query_points(_NAME, query=query, limit=k).points for query in queries]
        return filled([[int(point.id) for point in points] for points in found], k)

    def about(self) -> dict[str, Any]:
        return {"version": importlib.metadata.version("qdrant-client"), "index": "exact, in memory"}

    def close(self) -> None:
        self._client.close()


make = QdrantLocal
