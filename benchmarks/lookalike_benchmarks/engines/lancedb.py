"""LanceDB: a table on disk with IVF lists of scalar-quantized HNSW graphs, its recommended index for recall."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from lookalike_benchmarks.engines.shape import GRAPH_EFFORTS, Columns, Where, filled
from lookalike_indexer.arrays import Float32, Int64


class LanceDb:
    efforts = GRAPH_EFFORTS

    def build(self, vectors: Float32, folder: Path) -> None:
        self.build_with(vectors, {}, folder)

    def build_with(self, vectors: Float32, columns: Columns, folder: Path) -> None:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        rows = pa.table({"id": np.arange(len(vectors)), "vector": lists, **columns})
        self._table = lancedb.connect(str(folder)).create_table("vectors", rows)
        self._table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_HNSW_SQ", num_partitions=1)
        for name in columns:
            self._table.create_scalar_index(name)

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        return filled([self._one(query, k, effort) for query in queries], k)

    def search_where(self, queries: Float32, k: int, effort: int, where: Sequence[Where]) -> Int64:
        found = [self._one(query, k, effort, str(one)) for query, one in zip(queries, where, strict=True)]
        return filled(found, k)

    def _one(self, query: Float32, k: int, effort: int, where: str | None = None) -> list[int]:
        asked = self._table.search(query).distance_type("dot").nprobes(1).ef(effort).select(["id", "_distance"])
        if where is not None:
            asked = asked.where(where, prefilter=True)
        ids: list[int] = asked.limit(k).to_arrow().column("id").to_pylist()
        return ids

    def about(self) -> dict[str, Any]:
        return {"version": importlib.metadata.version("lancedb"), "index": "IVF_HNSW_SQ with 1 partition"}

    def close(self) -> None:
        pass


make = LanceDb
