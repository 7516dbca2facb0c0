"""Serialized requests of a suite, so that callers cost as little as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lookalike import wire
from lookalike.v1 import cluster_pb2, search_pb2, types_pb2
from lookalike_indexer.arrays import Float32

SEARCH = "/lookalike.v1.SearchService/Search"
MEMBERSHIP = "/lookalike.v1.ClusterService/GetMembership"


@dataclass(frozen=True)
class Requests:
    """Requests of one method, each with `queries` queries."""

    method: str
    messages: list[bytes]
    queries: int = 1


def by_vector(vectors: Float32, k: int, batch: int = 1) -> Requests:
    """Return searches for `batch` vectors each, with the columns that the client requests."""
    batches = [_vectors(vectors[start : start + batch]) for start in range(0, len(vectors) - batch + 1, batch)]
    return Requests(SEARCH, _searches(batches, k), batch)


def by_picture(files: Sequence[bytes], k: int) -> Requests:
    """Return searches for one image each."""
    return Requests(
        SEARCH, _searches([types_pb2.QueryBatch(images=types_pb2.Images(data=[file])) for file in files], k)
    )


def by_key(keys: Sequence[str], k: int) -> Requests:
    """Return searches for one stored image each."""
    return Requests(SEARCH, _searches([_key(key) for key in keys], k))


def memberships_of_keys(keys: Sequence[str], members: int) -> Requests:
    """Return cluster lookups of one stored image each."""
    return Requests(MEMBERSHIP, _memberships([_key(key) for key in keys], members))


def memberships_of_vectors(vectors: Float32, members: int) -> Requests:
    """Return cluster lookups of one new vector each."""
    return Requests(MEMBERSHIP, _memberships([_vectors(vector[None]) for vector in vectors], members))


def batch_size(replies: Sequence[bytes]) -> float:
    """Return the mean number of queries that the server searched together, from its replies."""
    sizes = [search_pb2.SearchResponse.FromString(reply).served.batch_size for reply in replies]
    return sum(sizes) / len(sizes) if sizes else float("nan")


def _vectors(vectors: Float32) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(vectors=types_pb2.Vectors(values=wire.encode(vectors)))


def _key(key: str) -> types_pb2.QueryBatch:
    return types_pb2.QueryBatch(keys=types_pb2.Keys(values=[key]))


def _searches(queries: Sequence[types_pb2.QueryBatch], k: int) -> list[bytes]:
    fields = search_pb2.NeighborFields(keys=True, labels=True)
    return [search_pb2.SearchRequest(query=query, k=k, fields=fields).SerializeToString() for query in queries]


def _memberships(queries: Sequence[types_pb2.QueryBatch], members: int) -> list[bytes]:
    return [cluster_pb2.GetMembershipRequest(query=query, members=members).SerializeToString() for query in queries]
