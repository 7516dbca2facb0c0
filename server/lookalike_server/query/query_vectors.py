"""The queries of a call as vectors: what is searched for, and which rows have failed."""

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

# Below the least normal float32 a norm has lost its digits, and below this one its square has.
_SHORTEST = float(np.finfo(np.float32).tiny)
_SHORT_SQUARE = 1e-30


@dataclass(frozen=True)
class Queries:
    """Vectors (n, dim) that are finite and of the right space; `own` are the ids of stored images, or None.

    `distinct` tells which of them the call has more than once. Where the call
    wants errors by row, `rows` are the rows of the `asked` queries that have a
    vector, and `failed` says of the others why they have none.
    """

    vectors: Float32
    own: Int64 | None
    distinct: Distinct
    resolve_us: int
    asked: int
    rows: Int64
    failed: Mapping[int, str] = field(default_factory=dict)

    def without(self, failed: Mapping[int, str]) -> Queries:
        """These queries, less some rows that have failed as well."""
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
    """What is said of failed rows, as a reply has it."""
    return [types_pb2.RowError(row=row, message=failed[row]) for row in sorted(failed)]


def with_directions(queries: Queries, batch: types_pb2.QueryBatch, by_row: bool) -> Queries:
    """The queries that a cosine distance exists to.

    One without direction fails its row where errors are wanted `by_row`; ArgumentError otherwise.
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
    """The places of vectors (n, dim) that are zero, or too short for float32."""
    short = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) < _SHORT_SQUARE)
    if not len(short):
        return short
    return short[np.sqrt(rowwise.squared_norms(vectors[short])) < _SHORTEST]


def _no_direction(batch: types_pb2.QueryBatch, kind: str, row: int) -> str:
    named = f" ({getattr(batch, kind).values[row]!r})" if kind in ("keys", "ids") else ""
    return (
        f"Query {row}{named} has no direction: all values of its vector are 0, or too small for float32. "
        "Distances here are cosine; ask with another vector or picture."
    )
