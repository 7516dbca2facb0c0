"""Remote calls as pairs of a serialized request and a parser of the reply.

Nothing here waits or sends, so the synchronous and the asyncio client share all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from google.protobuf import message, wrappers_pb2

from lookalike import _replies
from lookalike._arguments import Errors, Fields, Order, Weights
from lookalike._collection import Collection, StoredImage, StoredImages, Thumbnails
from lookalike._errors import InvalidArgumentError, ProtocolError
from lookalike._examples import examples
from lookalike._filters import Where, message_of
from lookalike._graph import GraphLists
from lookalike._joining import Sourced
from lookalike._labels import Labels
from lookalike._memberships import Clusters, Members, Memberships, MembershipsBatch
from lookalike._neighbors import Neighbors, NeighborsBatch
from lookalike._paging import Page
from lookalike._queries import Query, as_int, check_id, check_key, only_given, query, several
from lookalike._server import ServedCollection, ServerInfo
from lookalike.v1 import cluster_pb2, collection_pb2, search_pb2, server_pb2, types_pb2

Result = TypeVar("Result")
Reply = TypeVar("Reply", bound=message.Message)

_INT32_MAX = 2**31 - 1
# SERVING of grpc.health.v1.HealthCheckResponse.ServingStatus.
_SERVING = 1
_ORDERS = {"id": collection_pb2.IMAGE_ORDER_ID, "spread": collection_pb2.IMAGE_ORDER_SPREAD}


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A remote call: the method's path, the request's bytes, and the parser of the reply's bytes.

    `undirected` is the first query that a space with cosine distances rejects, None if there is none.
    `needs_admin` is True if the call changes what is served. A call that is not `patient` does not wait for a server to
    start. `of_collection` is True if the request names a collection.
    """

    path: str
    request: bytes
    parse: Callable[[bytes], Result]
    undirected: int | None = None
    needs_admin: bool = False
    patient: bool = True
    of_collection: bool = True

    def about(self, collection: bytes) -> bytes:
        """Return the bytes of the request with the field that `collection_field` serialized."""
        return self.request + collection if self.of_collection else self.request

    def read(self, reply: bytes, target: str) -> Result:
        """Parse the reply's bytes; raise ProtocolError if they cannot be read."""
        try:
            return self.parse(reply)
        except (message.DecodeError, ValueError) as error:
            raise ProtocolError(
                f"The reply of {target} cannot be read by this version of the client: {error}."
            ) from error


def search(
    given: Mapping[str, Any],
    *,
    k: int,
    space: str | None,
    nprobe: int | None,
    recall: float | None,
    exact: bool,
    include_self: bool,
    uris: bool,
    where: Where | None,
    fields: Fields,
    explain: bool,
    max_distance: float | None,
    weights: Weights | None,
    group_by: str | None,
    per_group: int,
    with_vectors: bool,
    after: int,
    errors: Errors,
) -> Call[NeighborsBatch | Neighbors]:
    feedback = None
    not_keys, given = given.get("not_keys"), {name: each for name, each in given.items() if name != "not_keys"}
    if not_keys is not None:
        feedback, given = examples(given, not_keys, weights)
    elif weights is not None:
        raise InvalidArgumentError("weights= requires not_keys=, which may be empty.")
    asked = query(given, errors) if feedback is None or given else Query(types_pb2.QueryBatch(), single=True)
    if feedback is not None and not asked.single:
        raise InvalidArgumentError("Examples move one query; with not_keys= use key=, id=, image=, vector= or text=.")
    queries = 1 if feedback is not None else _length(asked.batch)
    wanted = search_pb2.NeighborFields(
        keys=True, labels=True, uris=uris, attributes=_names(fields), vectors=with_vectors
    )
    request = search_pb2.SearchRequest(
        query=asked.batch,
        space=space or "",
        k=as_count("k", k, 1),
        include_self=include_self,
        fields=wanted,
        row_errors=asked.failed is not None,
        filter=message_of(where),
        explain=explain,
        feedback=feedback,
        max_distance=_distance(max_distance),
        grouping=_grouping(group_by, per_group),
        after_sequence=after,
    )
    _set_effort(request, nprobe, recall, exact)
    columns = _replies.NeighborFields(uris, with_vectors, group_by is not None)

    def parse(reply: search_pb2.SearchResponse) -> NeighborsBatch | Neighbors:
        batch = _replies.neighbors(reply, queries, columns, asked.failed or {})
        return batch[0] if asked.single else batch

    call = make_call("lookalike.v1.SearchService/Search", request, search_pb2.SearchResponse, parse)
    return dataclasses.replace(call, undirected=asked.undirected)


def check_direction(row: int, space: str | None, collection: Collection) -> None:
    """Raise InvalidArgumentError if the space of a search has cosine distances; None is the default space.

    `row` is the query without a direction, which has no cosine distance to any vector.
    """
    name = space or collection.default_space
    metrics = {each.name: each.index.metric for each in collection.spaces if each.index is not None}
    if metrics.get(name) == "cosine":
        raise InvalidArgumentError(
            f"Query {row} has no direction: all values of its vector are 0, or too small for float32. "
            f"The space {name} has cosine distances; ask with another vector."
        )


def memberships(
    given: Mapping[str, Any],
    *,
    clusterings: Sequence[str] | str,
    space: str | None,
    members: int,
    where: Where | None,
    fields: Fields,
    errors: Errors,
) -> Call[MembershipsBatch | Memberships]:
    asked = query(given, errors)
    queries = _length(asked.batch)
    request = cluster_pb2.GetMembershipRequest(
        query=asked.batch,
        clusterings=[clusterings] if isinstance(clusterings, str) else list(clusterings),
        space=space or "",
        members=as_count("members", members, 0),
        row_errors=asked.failed is not None,
        filter=message_of(where),
        fields=_names(fields),
    )

    def parse(reply: cluster_pb2.GetMembershipResponse) -> MembershipsBatch | Memberships:
        batch = _replies.memberships(reply, queries, asked.failed or {})
        return batch[0] if asked.single else batch

    return make_call("lookalike.v1.ClusterService/GetMembership", request, cluster_pb2.GetMembershipResponse, parse)


def members_page(
    clustering: str, cluster: int, where: Where | None, fields: Fields, page_size: int | None, token: str
) -> Call[Page[Members]]:
    request = cluster_pb2.ListMembersRequest(
        clustering=clustering,
        cluster=as_count("cluster", cluster, 0),
        page_size=as_count("page_size", page_size or 0, 0),
        page_token=token,
        filter=message_of(where),
        fields=_names(fields),
    )
    reply = cluster_pb2.ListMembersResponse
    return make_call("lookalike.v1.ClusterService/ListMembers", request, reply, _replies.members_page)


def list_clusters(clustering: str, where: Where | None) -> Call[Clusters]:
    request = cluster_pb2.ListClustersRequest(clustering=clustering, filter=message_of(where))
    reply = cluster_pb2.ListClustersResponse
    return make_call(
        "lookalike.v1.ClusterService/ListClusters", request, reply, lambda got: _replies.clusters(got, clustering)
    )


def info() -> Call[Collection]:
    request, reply = collection_pb2.GetCollectionRequest(), collection_pb2.GetCollectionResponse
    return make_call("lookalike.v1.CollectionService/GetCollection", request, reply, _replies.collection)


def lookup(given: Mapping[str, Any], fields: Fields) -> Call[StoredImages | StoredImage]:
    name = only_given(given, ("key", "id", "keys", "ids"))
    single = not name.endswith("s")
    values = [given[name]] if single else several(name, given[name])
    request = collection_pb2.GetImagesRequest(fields=_names(fields))
    if name in ("key", "keys"):
        request.keys.values.extend(check_key(value) for value in values)
    else:
        request.ids.values.extend(check_id(value) for value in values)

    def parse(reply: collection_pb2.GetImagesResponse) -> StoredImages | StoredImage:
        found = _replies.found_images(reply, len(values))
        return found[0] if single else found

    return make_call("lookalike.v1.CollectionService/GetImages", request, collection_pb2.GetImagesResponse, parse)


def images_page(
    label: str | None, where: Where | None, order: Order, fields: Fields, page_size: int | None, token: str
) -> Call[Page[StoredImages]]:
    if order not in _ORDERS:
        raise InvalidArgumentError(f"order={order!r} must be 'id' or 'spread'.")
    request = collection_pb2.ListImagesRequest(
        label=label or "",
        order=_ORDERS[order],
        page_size=as_count("page_size", page_size or 0, 0),
        page_token=token,
        filter=message_of(where),
        fields=_names(fields),
    )
    reply = collection_pb2.ListImagesResponse
    return make_call("lookalike.v1.CollectionService/ListImages", request, reply, _replies.images_page)


def graph_page(
    given: Mapping[str, Any], k: int | None, space: str | None, page_size: int | None, token: str
) -> Call[Page[GraphLists]]:
    there = {name: value for name, value in given.items() if value is not None}
    request = collection_pb2.ListGraphRequest(
        space=space or "",
        k=0 if k is None else as_count("k", k, 1),
        page_size=0 if page_size is None else as_count("page_size", page_size, 0),
        page_token=token,
    )
    if there:
        name = only_given(there, ("key", "id", "keys", "ids"))
        values = several(name, there[name]) if name.endswith("s") else [there[name]]
        if name in ("key", "keys"):
            request.keys.values.extend(check_key(value) for value in values)
        else:
            request.ids.values.extend(check_id(value) for value in values)
    reply = collection_pb2.ListGraphResponse
    return make_call("lookalike.v1.CollectionService/ListGraph", request, reply, _replies.graph_page)


def labels_page(page_size: int | None, token: str) -> Call[Page[Labels]]:
    request = collection_pb2.ListLabelsRequest(page_size=as_count("page_size", page_size or 0, 0), page_token=token)
    reply = collection_pb2.ListLabelsResponse
    return make_call("lookalike.v1.CollectionService/ListLabels", request, reply, _replies.labels_page)


def thumbnails(given: Mapping[str, Any], size: int) -> Call[Thumbnails]:
    wanted = [check_id(image_id) for image_id in several("ids", given["ids"])]
    request = collection_pb2.GetThumbnailsRequest(ids=wanted, size=as_count("size", size, 0))
    reply = collection_pb2.GetThumbnailsResponse
    return make_call(
        "lookalike.v1.CollectionService/GetThumbnails",
        request,
        reply,
        lambda got: _replies.thumbnails(got, len(wanted)),
    )


def reload() -> Call[int]:
    request, reply = server_pb2.ReloadRequest(), server_pb2.ReloadResponse
    call = make_call("lookalike.v1.ServerService/Reload", request, reply, lambda got: got.generation)
    return dataclasses.replace(call, needs_admin=True)


def server_info() -> Call[ServerInfo]:
    request, reply = server_pb2.GetServerInfoRequest(), server_pb2.GetServerInfoResponse
    return make_call("lookalike.v1.ServerService/GetServerInfo", request, reply, _replies.server_info)


def health(service: str | None) -> Call[bool]:
    """The standard health check.

    Its messages have one field each: a string in the request and an enum in the reply. On the wire they equal
    protobuf's wrapper types, so the client needs no health-check package.
    """
    request, reply = wrappers_pb2.StringValue(value=service or ""), wrappers_pb2.Int32Value
    call = make_call("grpc.health.v1.Health/Check", request, reply, lambda got: got.value == _SERVING)
    return dataclasses.replace(call, patient=False, of_collection=False)


def collections() -> Call[tuple[ServedCollection, ...]]:
    request, reply = server_pb2.ListCollectionsRequest(), server_pb2.ListCollectionsResponse
    call = make_call("lookalike.v1.ServerService/ListCollections", request, reply, _replies.collections)
    return dataclasses.replace(call, of_collection=False)


def collection_field(name: str) -> bytes:
    """Serialize the field `collection`, which has the same number in all requests; b"" for the name "".

    Protobuf merges concatenated messages, so the field can be appended to a serialized request.
    """
    return server_pb2.GetServerInfoRequest(collection=name).SerializeToString()


def make_call(
    method: str, request: message.Message, reply: type[Reply], parse: Callable[[Reply], Result]
) -> Call[Result]:
    """Build the call of a method, "package.Service/Method"; `parse` reads its reply of type `reply`."""
    return Call(f"/{method}", request.SerializeToString(), lambda data: parse(reply.FromString(data)))


def _length(batch: Any) -> int:
    """Return the number of queries of a QueryBatch."""
    kind = batch.WhichOneof("kind")
    if kind == "vectors":
        return int(batch.vectors.values.shape[0])
    return len(batch.images.data if kind == "images" else getattr(batch, kind).values)


def vectors(given: Mapping[str, Any], *, space: str | None) -> Call[Sourced]:
    asked = query(given)
    queries = _length(asked.batch)
    stored = asked.batch.WhichOneof("kind") in ("keys", "ids")
    request = search_pb2.GetVectorsRequest(query=asked.batch, space=space or "")

    def parse(reply: search_pb2.GetVectorsResponse) -> Sourced:
        found = _replies.vectors(reply, queries)
        # A network may serve many generations and returns the same embedding in each.
        source = f"generation {reply.served.generation}" if stored else f"the network {reply.space_fingerprint[:12]}"
        return Sourced(found[0] if asked.single else found, source)

    return make_call("lookalike.v1.SearchService/GetVectors", request, search_pb2.GetVectorsResponse, parse)


def _distance(value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)) or not value >= 0:
        raise InvalidArgumentError(f"max_distance={value!r} must be a number of at least 0.")
    return float(value)


def _grouping(column: str | None, per_group: int) -> search_pb2.Grouping | None:
    count = as_count("per_group", per_group, 1)
    if column is None:
        if count != 1:
            raise InvalidArgumentError("per_group= says how many neighbors a group has; it goes with group_by=.")
        return None
    if not isinstance(column, str) or not column:
        raise InvalidArgumentError(f"group_by={column!r} must be the name of a column.")
    return search_pb2.Grouping(column=column, per_group=count)


def _names(fields: Fields) -> list[str]:
    """Return the column names as a list; `fields` may be a single name."""
    names = [fields] if isinstance(fields, str) else list(fields)
    for name in names:
        if not isinstance(name, str):
            raise InvalidArgumentError(f"fields= takes the names of columns, not {name!r}.")
    return names


def _set_effort(request: search_pb2.SearchRequest, nprobe: int | None, recall: float | None, exact: bool) -> None:
    if (nprobe is not None) + (recall is not None) + bool(exact) > 1:
        raise InvalidArgumentError("Pass at most one of nprobe=, recall= and exact=.")
    if nprobe is not None:
        request.nprobe = as_count("nprobe", nprobe, 1)
    elif recall is not None:
        if isinstance(recall, bool) or not isinstance(recall, (int, float, np.floating)) or not 0 < recall <= 1:
            raise InvalidArgumentError(f"recall={recall!r} must be above 0 and at most 1.")
        request.recall = float(recall)
    elif exact:
        request.exact = True


def as_count(name: str, value: object, least: int) -> int:
    """Return `value` as an integer; raise InvalidArgumentError, which names the argument, if it is below `least`."""
    number = as_int(value)
    if number is None or not least <= number <= _INT32_MAX:
        raise InvalidArgumentError(f"{name}={value!r} must be an integer of at least {least}.")
    return number
