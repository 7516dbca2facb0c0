"""Qdrant's local mode: the client alone, which compares with every vector."""

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
    # Exact: there is nothing to choose.
    efforts = (0,)

    def build(self, vectors: Float32, folder: Path) -> None:
        # In memory: on the disk the local mode keeps a pickle of each point, for which it is not meant.
        self._client = QdrantClient(":memory:")
        parameters = models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT)
        self._client.create_collection(_NAME, vectors_config=parameters)
        with warnings.catch_warnings():
            # That a server would be better for so many is why it is measured as what it is.
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
