"""Queries of a call as vectors, with the rows that failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lookalike.v1 import types_pb2
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.vectors import rowwise
from lookalike_server.common.errors import ArgumentError
from lookalike_server.query.distinct import Distinct

# Below the smallest normal float32 a norm has lost precision; below the second value, its square has.
_SHORTEST = float(np.finfo(np.float32).tiny)
_SHORT_SQUARE = 1e-30


@dataclass(frozen=True)
class Queries:
    """Finite vectors (n, dim) of the right space. `own` holds the ids of stored images, or is None.

    `distinct` says which of them are repeated. If the call wants errors by row, `rows` are the rows
    of the `asked` queries that have a vector, and `failed` has the errors of the others.
    """

    vectors: Float32
    own: Int64 | None
    distinct: Distinct
    resolve_us: int
    asked: int
    rows: Int64
    failed: Mapping[int, str] = field(default_factory=dict)

    def without(self, failed: Mapping[int, str]) -> Queries:
        """Return these queries without further rows that failed."""
        keep = np.flatnonzero(~np.isin(self.rows, list(failed)))
        return dataclasses.replace(
            self,
            vectors=self.vectors[keep],
            own=None if self.own is None else self.own[keep],
            distinct=Distinct.of([self.distinct.inverse[place] for place in keep.tolist()]),
            rows=self.rows[keep],
            failed={**self.failed, **failed},
        )


def row_errors(failed: Mapping[int, str]) -> list[types_pb2.RowError]:
    """Return the errors of failed rows as messages."""
    return [types_pb2.RowError(row=row, message=failed[row]) for row in sorted(failed)]


def with_directions(queries: Queries, batch: types_pb2.QueryBatch, by_row: bool) -> Queries:
    """Return the queries that have a direction, which cosine distances require.

    A query without one fails its row if `by_row`; otherwise ArgumentError is raised.
    """
    without = queries.rows[_undirected(queries.vectors)].tolist()
    if not without:
        return queries
    kind = batch.WhichOneof("kind") or "query"
    sentences = {row: _no_direction(batch, kind, row) for row in without}
    if by_row:
        return queries.without(sentences)
    raise ArgumentError(f"query.{kind}", sentences[without[0]])


def _undirected(vectors: Float32) -> Int64:
    """Return the places of vectors (n, dim) that are zero, or too short for float32."""
    short = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) < _SHORT_SQUARE)
    if not len(short):
        return short
    return short[np.sqrt(rowwise.squared_norms(vectors[short])) < _SHORTEST]


def _no_direction(batch: types_pb2.QueryBatch, kind: str, row: int) -> str:
    named = f" ({getattr(batch, kind).values[row]!r})" if kind in ("keys", "ids") else ""
    return (
        f"Query {row}{named} has no direction: all values of its vector are 0, or too small for float32. "
        "The metric is cosine; query by another vector or image."
    )
