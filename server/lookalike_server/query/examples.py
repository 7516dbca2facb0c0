"""Queries moved by examples and counterexamples (J. J. Rocchio, The SMART Retrieval System, 1971)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lookalike.v1 import search_pb2, types_pb2
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.generation.spaces import Space
from lookalike_server.query.distinct import Distinct
from lookalike_server.query.query_vectors import Queries

QUERY_WEIGHT, WEIGHT, NOT_WEIGHT = 1.0, 0.75, 0.15
# Largest k of an index on a GPU, minus the query's own image.
_MOST = 2047
# Shorter vectors have lost precision.
_SHORTEST = float(np.finfo(np.float32).tiny)


def check(feedback: search_pb2.Feedback, limits: Limits, k: int) -> None:
    """Raise ArgumentError if there are no examples, too many for k neighbors, or a negative or infinite weight."""
    count = len(feedback.keys) + len(feedback.not_keys)
    if not 1 <= count <= limits.max_batch:
        raise ArgumentError("feedback", f"The call has {count} examples; it must have 1 to {limits.max_batch}.")
    if count + k > _MOST:
        raise ArgumentError(
            "feedback", f"{k} neighbors and {count} excluded examples are more than {_MOST}; request less."
        )
    for name, value in (
        ("query_weight", feedback.query_weight),
        ("weight", feedback.weight),
        ("not_weight", feedback.not_weight),
    ):
        if not (math.isfinite(value) and value >= 0):
            raise ArgumentError(f"feedback.{name}", f"{name} is {value:g}; it must be a number of at least 0.")


def keys_of(feedback: search_pb2.Feedback) -> types_pb2.QueryBatch:
    """Return the examples as queries, those to be like first."""
    return types_pb2.QueryBatch(keys=types_pb2.Keys(values=[*feedback.keys, *feedback.not_keys]))


def moved(
    queries: Queries | None, examples: Queries, feedback: search_pb2.Feedback, space: Space
) -> tuple[Queries, Int64]:
    """Return the queries moved by the examples, and the ids (m,) of the examples, which `keys_of` requested.

    Without `queries`, the examples alone make one query. For cosine distances, vectors are
    normalized first. Raises ArgumentError if a query has no direction left.
    """
    metric = space.engine.entry.metric
    vectors = prepare(examples.vectors, metric).astype(np.float64)
    change, likes = np.zeros(vectors.shape[1]), len(feedback.keys)
    if likes:
        change += (feedback.weight if feedback.HasField("weight") else WEIGHT) * vectors[:likes].mean(axis=0)
    if likes < len(vectors):
        weight = feedback.not_weight if feedback.HasField("not_weight") else NOT_WEIGHT
        change -= weight * vectors[likes:].mean(axis=0)
    if queries is None:
        queries = dataclasses.replace(examples, own=None, asked=1, rows=np.arange(1))
        found = change[None]
    else:
        weight = feedback.query_weight if feedback.HasField("query_weight") else QUERY_WEIGHT
        found = weight * prepare(queries.vectors, metric).astype(np.float64) + change
    result: Float32 = found.astype(np.float32)
    if metric == "cosine" and not (np.linalg.norm(result, axis=1) >= _SHORTEST).all():
        raise ArgumentError(
            "feedback", "The examples cancel each other out and leave no direction; use other examples."
        )
    distinct = Distinct.of([row.tobytes() for row in result])
    own = np.zeros(0, np.int64) if examples.own is None else np.unique(examples.own)
    return dataclasses.replace(queries, vectors=result, distinct=distinct), own
