"""milvus-lite: Milvus in a process of its own, called over gRPC."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

from pymilvus import DataType, MilvusClient

from lookalike_benchmarks.engines.shape import GRAPH_BUILD_EFFORT, GRAPH_EFFORTS, GRAPH_LINKS, filled
from lookalike_indexer.arrays import Float32, Int64

_NAME = "vectors"
_BATCH = 1000


class MilvusLite:
    efforts = GRAPH_EFFORTS

    def build(self, vectors: Float32, folder: Path) -> None:
        self._client = MilvusClient(str(folder / "milvus.db"))
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        index = self._client.prepare_index_params()
        graph = {"M": GRAPH_LINKS, "efConstruction": GRAPH_BUILD_EFFORT}
        index.add_index("vector", index_type="HNSW", metric_type="IP", params=graph)
        self._client.create_collection(_NAME, schema=schema, index_params=index)
        for start in range(0, len(vectors), _BATCH):
            block = vectors[start : start + _BATCH]
            self._client.insert(_NAME, [{"id": start + row, "vector": vector} for row, vector in enumerate(block)])
        self._client.flush(_NAME)
        self._client.load_collection(_NAME)

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        found = self._client.search(
            _NAME, list(queries), limit=k, search_params={"metric_type": "IP", "params": {"ef": effort}}
        )
        return filled([[int(hit["id"]) for hit in hits] for hits in found], k)

    def about(self) -> dict[str, Any]:
        version = importlib.metadata.version("milvus-lite")
        return {"version": version, "index": f"HNSW{GRAPH_LINKS}, efConstruction {GRAPH_BUILD_EFFORT}"}

    def close(self) -> None:
        self._client.close()


make = MilvusLite
