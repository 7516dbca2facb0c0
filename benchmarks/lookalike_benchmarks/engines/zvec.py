"""zvec in this process, HNSW over int8 codes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zvec

from lookalike_benchmarks.engines.shape import GRAPH_EFFORTS, Columns, Where, filled
from lookalike_indexer.arrays import Float32, Int64

_BLOCK = 1000
_M, _EF_CONSTRUCTION = 32, 200


class Zvec:
    efforts = GRAPH_EFFORTS

    def build(self, vectors: Float32, folder: Path) -> None:
        self.build_with(vectors, {}, folder)

    def build_with(self, vectors: Float32, columns: Columns, folder: Path) -> None:
        graph = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.IP,
            m=_M,
            ef_construction=_EF_CONSTRUCTION,
            quantize_type=zvec.QuantizeType.INT8,
        )
        inverted = zvec.InvertIndexParam(enable_range_optimization=True)
        fields = [zvec.FieldSchema(name, zvec.DataType.INT64, index_param=inverted) for name in columns]
        schema = zvec.CollectionSchema(
            name="vectors",
            fields=fields or None,
            vectors=zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, vectors.shape[1], index_param=graph),
        )
        self._collection = zvec.create_and_open(str(folder / "collection"), schema)
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            docs = [
                zvec.Doc(
                    id=str(row),
                    vectors={"v": vector.tolist()},
                    fields={name: int(values[row]) for name, values in columns.items()},
                )
                for row, vector in enumerate(block, start)
            ]
            self._collection.insert(docs)
        # Build the graph; before this, searches scan all vectors.
        self._collection.optimize()

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        return filled([self._one(query, k, effort, None) for query in queries], k)

    def search_where(self, queries: Float32, k: int, effort: int, where: Sequence[Where]) -> Int64:
        found = [self._one(query, k, effort, str(one)) for query, one in zip(queries, where, strict=True)]
        return filled(found, k)

    def _one(self, query: Float32, k: int, effort: int, where: str | None) -> list[int]:
        asked = zvec.VectorQuery("v", vector=query.tolist(), param=zvec.HnswQueryParam(ef=effort))
        return [int(doc.id) for doc in self._collection.query(asked, topk=k, filter=where, output_fields=[])]

    def about(self) -> dict[str, Any]:
        return {
            "version": importlib.metadata.version("zvec"),
            "index": f"HNSW{_M}, int8, ef_construction {_EF_CONSTRUCTION}",
        }

    def close(self) -> None:
        del self._collection


make = Zvec
