"""zvec in this process, HNSW over int8 codes."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import zvec

from lookalike_benchmarks.engines.shape import filled
from lookalike_indexer.arrays import Float32, Int64

_BLOCK = 1000
_M, _EF_CONSTRUCTION = 32, 200


class Zvec:
    efforts = (16, 32, 64, 128, 256, 512)

    def build(self, vectors: Float32, folder: Path) -> None:
        graph = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.IP,
            m=_M,
            ef_construction=_EF_CONSTRUCTION,
            quantize_type=zvec.QuantizeType.INT8,
        )
        schema = zvec.CollectionSchema(
            name="vectors",
            vectors=zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, vectors.shape[1], index_param=graph),
        )
        self._collection = zvec.create_and_open(str(folder / "collection"), schema)
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            docs = [
                zvec.Doc(id=str(start + number), vectors={"v": vector.tolist()}) for number, vector in enumerate(block)
            ]
            self._collection.insert(docs)
        # Makes the graph: until then everything is compared.
        self._collection.optimize()

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        parameters = zvec.HnswQueryParam(ef=effort)
        found = []
        for query in queries:
            asked = zvec.VectorQuery("v", vector=query.tolist(), param=parameters)
            found.append([int(doc.id) for doc in self._collection.query(asked, topk=k)])
        return filled(found, k)

    def about(self) -> dict[str, Any]:
        return {
            "version": importlib.metadata.version("zvec"),
            "index": f"HNSW{_M}, int8, ef_construction {_EF_CONSTRUCTION}",
        }

    def close(self) -> None:
        del self._collection


make = Zvec
