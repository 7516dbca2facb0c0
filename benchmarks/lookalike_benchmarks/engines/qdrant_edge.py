"""qdrant-edge: Qdrant's engine in this process, HNSW over int8 codes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from lookalike_benchmarks.engines.shape import GRAPH_EFFORTS, Columns, Where, filled
from lookalike_indexer.arrays import Float32, Int64

_BLOCK = 1000
_M, _EF_CONSTRUCT = 32, 200
# Size in kilobytes from which a segment gets a graph instead of a full scan.
_GRAPH_FROM = 100


class QdrantEdge:
    efforts = GRAPH_EFFORTS

    def build(self, vectors: Float32, folder: Path) -> None:
        self.build_with(vectors, {}, folder)

    def build_with(self, vectors: Float32, columns: Columns, folder: Path) -> None:
        place = folder / "shard"
        place.mkdir(parents=True, exist_ok=True)
        graph = edge.HnswIndexConfig(_M, _EF_CONSTRUCT, _GRAPH_FROM)
        codes = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=True)
        parameters = edge.EdgeVectorParams(
            vectors.shape[1], edge.Distance.Dot, hnsw_config=graph, quantization_config=codes
        )
        optimizers = edge.EdgeOptimizersConfig(indexing_threshold=_GRAPH_FROM)
        self._shard = edge.EdgeShard.create(str(place), edge.EdgeConfig(vectors=parameters, optimizers=optimizers))
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            points = [
                edge.Point(row, vector.tolist(), {name: int(values[row]) for name, values in columns.items()})
                for row, vector in enumerate(block, start)
            ]
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        # Before the graph is built, which gets additional edges for indexed fields.
        for name in columns:
            self._shard.update(edge.UpdateOperation.create_field_index(name, edge.PayloadSchemaType.Integer))
        # Build the graph; before this, searches scan all vectors.
        self._shard.optimize()
        if (there := self._shard.info().indexed_vectors_count) != len(vectors):
            raise RuntimeError(f"its graph holds {there} of {len(vectors)} vectors")

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        return self._found(queries, k, effort, [None] * len(queries))

    def search_where(self, queries: Float32, k: int, effort: int, where: Sequence[Where]) -> Int64:
        return self._found(queries, k, effort, [_filter(one) for one in where])

    def _found(self, queries: Float32, k: int, effort: int, filters: Sequence[Any]) -> Int64:
        # Rescore the hits of the codes with the vectors, as Qdrant's documentation recommends.
        again = edge.QuantizationSearchParams(rescore=True, oversampling=2.0)
        parameters = edge.SearchParams(hnsw_ef=effort, quantization=again)
        found = []
        for query, theirs in zip(queries, filters, strict=True):
            asked = edge.SearchRequest(edge.Query.Nearest(query.tolist()), k, filter=theirs, params=parameters)
            found.append([int(point.id) for point in self._shard.search(asked)])
        return filled(found, k)

    def about(self) -> dict[str, Any]:
        version = importlib.metadata.version("qdrant-edge-py")
        return {"version": version, "index": f"HNSW{_M}, int8, ef_construct {_EF_CONSTRUCT}"}

    def close(self) -> None:
        self._shard.close()


def _filter(where: Where) -> edge.Filter:
    if where.among:
        return edge.Filter(must=[edge.FieldCondition(where.column, match=edge.MatchAny(list(where.among)))])
    return edge.Filter(must=[edge.FieldCondition(where.column, range=edge.RangeFloat(lt=where.below))])


make = QdrantEdge
