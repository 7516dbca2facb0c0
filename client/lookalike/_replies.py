"""Convert reply messages to results; ValueError if a reply contradicts itself."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lookalike import _attributes, wire
from lookalike._collection import (
    Attribute,
    Clustering,
    Collection,
    Index,
    RecallPoint,
    Space,
    StoredImages,
    Thumbnails,
)
from lookalike._graph import GraphLists
from lookalike._labels import Labels
from lookalike._memberships import Clusters, Members, MembershipsBatch
from lookalike._metrics import Metric
from lookalike._neighbors import NeighborsBatch
from lookalike._paging import Page
from lookalike._served import Plan, Served, Timings
from lookalike._server import Limits, ServedCollection, ServerInfo
from lookalike.v1 import cluster_pb2, collection_pb2, search_pb2, server_pb2, types_pb2

_NONE_FAILED: Final[Mapping[int, str]] = MappingProxyType({})
_METRICS: Final[dict[int, Metric]] = {
    collection_pb2.METRIC_COSINE: "cosine",
    collection_pb2.METRIC_L2: "l2",
}


def served(message: types_pb2.Served) -> Served:
    times = message.timings
    return Served(
        collection=message.collection,
        generation=message.generation,
        space=message.space,
        device=message.device,
        nprobe=message.nprobe,
        expected_recall=_shortest(message.expected_recall) or None,
        batch_size=message.batch_size,
        pretrained=message.pretrained,
        timings=Timings(times.resolve_us, times.queue_us, times.search_us, times.lookup_us, times.total_us),
        index=message.index,
        notes=tuple(message.notes),
        plan=_plan(message.plan) if message.HasField("plan") else None,
        sequence=message.sequence,
    )


def _plan(message: types_pb2.Plan) -> Plan:
    return Plan(
        strategy=message.strategy,
        filter=message.filter,
        matches=message.matches,
        rows=message.rows,
        lists_visited=message.lists_visited,
        lists_skipped=message.lists_skipped,
        local_share=_shortest(message.local_share) or None,
        cached=message.cached,
    )


class NeighborFields(NamedTuple):
    """The optional columns of neighbors that the request asked for."""

    uris: bool = False
    vectors: bool = False
    groups: bool = False


def neighbors(
    reply: search_pb2.SearchResponse, queries: int, wanted: NeighborFields, failed: Mapping[int, str] = _NONE_FAILED
) -> NeighborsBatch:
    """Read the neighbors of `queries` queries; `failed` has errors of queries that were not sent."""
    columns = reply.neighbors
    counts = np.array(columns.counts, np.int32)
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    counts.setflags(write=False)
    offsets.setflags(write=False)
    _require(len(counts) == queries, f"{queries} queries have {len(counts)} answers")
    _require(bool((counts >= 0).all()), "a query has fewer than no neighbors")
    total = int(offsets[-1])
    return NeighborsBatch(
        counts=counts,
        offsets=offsets,
        ids=_array(columns.ids, np.int64, (total,)),
        keys=_texts(columns.keys, total),
        labels=_labels(columns.labels, total),
        distances=_array(columns.distances, np.float32, (total,)),
        uris=_texts(columns.uris, total) if wanted.uris else None,
        vectors=_matrix(columns.vectors, total) if wanted.vectors else None,
        group_sizes=_groups(columns, counts) if wanted.groups else None,
        attributes=_attributes.read(columns.attributes, total),
        served=served(reply.served),
        errors=_errors(reply.errors, queries, failed),
        metric=_metric(reply.metric),
    )


def vectors(reply: search_pb2.GetVectorsResponse, queries: int) -> npt.NDArray[np.float32]:
    """Read vectors of shape (queries, dim)."""
    return _matrix(reply.vectors, queries)


def _matrix(tensor: types_pb2.Tensor, rows: int) -> npt.NDArray[np.float32]:
    """Read a float32 matrix of shape (rows, dim)."""
    if not rows and not tensor.shape:
        return np.empty((0, 0), np.float32)
    array = wire.decode(tensor)
    _require(array.dtype == np.float32 and array.ndim == 2 and len(array) == rows, f"{rows} rows have other vectors")
    return array


def _groups(columns: search_pb2.Neighbors, counts: npt.NDArray[np.int32]) -> tuple[tuple[int, ...], ...]:
    """Read the group sizes of each query."""
    sizes, start, found = list(columns.group_sizes), 0, []
    _require(len(columns.group_counts) == len(counts), "the groups are of other queries")
    for groups, count in zip(columns.group_counts, counts.tolist(), strict=True):
        found.append(tuple(sizes[start : start + groups]))
        _require(sum(found[-1]) == count, f"groups of {sum(found[-1])} neighbors have {count}")
        start += groups
    return tuple(found)


def members(message: cluster_pb2.Members, metric: Metric) -> Members:
    ids = _array(message.ids, np.int64)
    count = len(ids)
    return Members(
        ids=ids,
        keys=_texts(message.keys, count),
        labels=_labels(message.labels, count),
        distances=_array(message.distances, np.float32, (count,)),
        margins=_array(message.margins, np.float32, (count,)),
        attributes=_attributes.read(message.attributes, count),
        metric=metric,
    )


def memberships(
    reply: cluster_pb2.GetMembershipResponse, queries: int, failed: Mapping[int, str] = _NONE_FAILED
) -> MembershipsBatch:
    """Read the clusters of `queries` queries; `failed` has errors of queries that were not sent."""
    answers = reply.memberships
    metrics = tuple(_metric(answer.metric) for answer in answers)
    nearest = [
        [members(entry, metric) for entry in answer.nearest] for answer, metric in zip(answers, metrics, strict=True)
    ]
    for answer in nearest:
        _require(len(answer) == queries, f"{queries} queries have {len(answer)} lists of members")
    shape = (queries,)
    return MembershipsBatch(
        clusterings=tuple(answer.clustering for answer in answers),
        metrics=metrics,
        clusters=_beside((_array(answer.clusters, np.int32, shape) for answer in answers), queries, np.int32),
        distances=_beside((_array(answer.distances, np.float32, shape) for answer in answers), queries, np.float32),
        margins=_beside((_array(answer.margins, np.float32, shape) for answer in answers), queries, np.float32),
        sizes=_beside((_array(answer.sizes, np.int64, shape) for answer in answers), queries, np.int64),
        nearest=tuple(tuple(answer[i] for answer in nearest) for i in range(queries)),
        served=served(reply.served),
        errors=_errors(reply.errors, queries, failed),
    )


def members_page(reply: cluster_pb2.ListMembersResponse) -> Page[Members]:
    return Page(members(reply.members, _metric(reply.metric)), reply.total, reply.next_page_token, served(reply.served))


def clusters(reply: cluster_pb2.ListClustersResponse, clustering: str) -> Clusters:
    sizes = _array(reply.sizes, np.int64)
    mean_distances = _array(reply.mean_distances, np.float32, (len(sizes),))
    numbers = np.arange(len(sizes), dtype=np.int32)
    numbers.setflags(write=False)
    return Clusters(clustering, sizes, mean_distances, served(reply.served), numbers, _metric(reply.metric))


def collection(reply: collection_pb2.GetCollectionResponse) -> Collection:
    return Collection(
        name=reply.name,
        generation=reply.generation,
        images=reply.images,
        rejects=reply.rejects,
        labels=reply.labels,
        default_space=reply.default_space,
        spaces=tuple(_space(space) for space in reply.spaces),
        clusterings=tuple(_clustering(each) for each in reply.clusterings),
        attributes=tuple(
            Attribute(each.table, each.name, each.type, each.count, tuple(each.examples)) for each in reply.attributes
        ),
        deleted=reply.deleted,
    )


def _clustering(message: collection_pb2.Clustering) -> Clustering:
    return Clustering(
        name=message.name,
        space=message.space,
        k=message.k,
        spherical=message.spherical,
        inertia=message.inertia,
        images=message.images,
        missing=message.missing,
        strategy=message.strategy or ("spherical" if message.spherical else "kmeans"),
    )


def _space(message: collection_pb2.Space) -> Space:
    return Space(
        name=message.name,
        model=message.model,
        weights=message.weights,
        pretrained=message.pretrained,
        layer=message.layer,
        pooling=message.pooling,
        dim=message.dim,
        images=message.images,
        fingerprint=message.fingerprint,
        index=_index(message.index) if message.HasField("index") else None,
        indexes=tuple(_index(index) for index in message.indexes),
        default_clustering=message.default_clustering,
        takes_text=message.takes_text,
    )


def _index(message: collection_pb2.Index) -> Index:
    return Index(
        factory=message.factory,
        metric=_metric(message.metric),
        nlist=message.nlist,
        default_nprobe=message.default_nprobe,
        recall=tuple(RecallPoint(point.nprobe, _shortest(point.recall), point.k or 10) for point in message.recall),
        images=message.images,
        name=message.name,
        missing=message.missing,
    )


def images(message: collection_pb2.ImageColumns, by: types_pb2.Served) -> StoredImages:
    ids = _array(message.ids, np.int64)
    count = len(ids)
    return StoredImages(
        ids=ids,
        keys=_texts(message.keys, count),
        labels=_labels(message.labels, count),
        uris=_texts(message.uris, count),
        widths=_array(message.widths, np.int32, (count,)),
        heights=_array(message.heights, np.int32, (count,)),
        attributes=_attributes.read(message.attributes, count),
        served=served(by),
    )


def found_images(reply: collection_pb2.GetImagesResponse, asked: int) -> StoredImages:
    """Read a reply that must have `asked` images."""
    found = images(reply.images, reply.served)
    _require(len(found) == asked, f"{asked} images were asked for and {len(found)} came")
    return found


def images_page(reply: collection_pb2.ListImagesResponse) -> Page[StoredImages]:
    return Page(images(reply.images, reply.served), reply.total, reply.next_page_token, served(reply.served))


def graph_page(reply: collection_pb2.ListGraphResponse) -> Page[GraphLists]:
    count = len(reply.keys)
    # The server chooses the width: k of the request, or that of the graph.
    width = int(reply.neighbors.shape[1]) if len(reply.neighbors.shape) == 2 else 0
    lists = GraphLists(
        _array(reply.ids, np.int64, (count,)),
        tuple(reply.keys),
        _array(reply.neighbors, np.int64, (count, width)),
        _array(reply.distances, np.float32, (count, width)),
        _metric(reply.metric),
        reply.method,
        _shortest(reply.recall),
    )
    return Page(lists, reply.total, reply.next_page_token, served(reply.served))


def labels_page(reply: collection_pb2.ListLabelsResponse) -> Page[Labels]:
    labels = Labels(tuple(reply.labels), _array(reply.counts, np.int64, (len(reply.labels),)))
    return Page(labels, reply.total, reply.next_page_token, served(reply.served))


def thumbnails(reply: collection_pb2.GetThumbnailsResponse, asked: int) -> Thumbnails:
    """Read a reply that must have `asked` thumbnails."""
    _require(len(reply.jpegs) == asked, f"{asked} images were asked for and {len(reply.jpegs)} came")
    return Thumbnails(tuple(jpeg or None for jpeg in reply.jpegs), served(reply.served))


def server_info(reply: server_pb2.GetServerInfoResponse) -> ServerInfo:
    most = reply.limits
    return ServerInfo(
        version=reply.version,
        collection=reply.collection,
        generation=reply.generation,
        placement=reply.placement,
        devices=tuple(reply.devices),
        search_threads=reply.search_threads,
        embed_threads=reply.embed_threads,
        limits=Limits(**{limit.name: getattr(most, limit.name) for limit in dataclasses.fields(Limits)}),
        image_queries=reply.image_queries,
        image_query_problem=reply.image_query_problem,
        writable=reply.writable,
        sequence=reply.sequence,
        live_rows=reply.live_rows,
        deleted_rows=reply.deleted_rows,
        last_fold=_moment(reply.last_fold_us),
        update_problem=reply.update_problem,
        shard=reply.shard,
        files=reply.files,
        verified_files=reply.verified_files,
        damage=reply.damage,
    )


def _moment(microseconds: int) -> dt.datetime | None:
    """Return a time in UTC; None for 0."""
    return dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC) if microseconds else None


def collections(reply: server_pb2.ListCollectionsResponse) -> tuple[ServedCollection, ...]:
    return tuple(ServedCollection(one.name, one.generation, one.images, one.problem) for one in reply.collections)


def _metric(value: int) -> Metric:
    """Return the name of a metric; "unknown" if an older server does not report it."""
    return _METRICS.get(value, "unknown")


def _errors(told: Iterable[types_pb2.RowError], queries: int, failed: Mapping[int, str]) -> dict[int, str]:
    """Return the reason for each failed query, by row; errors found before sending override the server's."""
    sentences = {error.row: error.message for error in told}
    _require(all(0 <= row < queries for row in sentences), "an error names a row out of range")
    return dict(sorted({**sentences, **failed}.items()))


def _array(tensor: types_pb2.Tensor, dtype: type[Any], shape: tuple[int, ...] | None = None) -> npt.NDArray[Any]:
    """Decode a column of `dtype` and `shape`, or of one dimension. An unset tensor is an empty column."""
    empty = not tensor.data and not tensor.shape
    array = np.frombuffer(b"", dtype) if empty else wire.decode(tensor)
    if array.dtype != dtype:
        # Formatted only here: naming a numpy type takes as long as reading a column.
        raise ValueError(f"a column of {np.dtype(dtype)} came as {array.dtype}")
    _require(array.ndim == 1 if shape is None else array.shape == shape, f"a column has the shape {array.shape}")
    return array


def _beside(columns: Iterable[npt.NDArray[Any]], rows: int, dtype: type[Any]) -> npt.NDArray[Any]:
    """Stack columns to a read-only matrix of shape (rows, number of columns)."""
    listed = list(columns)
    matrix = np.stack(listed, axis=1) if listed else np.empty((rows, 0), dtype)
    matrix.setflags(write=False)
    return matrix


def _texts(values: Iterable[str], count: int) -> tuple[str, ...]:
    texts = tuple(values)
    _require(len(texts) == count, f"{count} rows have {len(texts)} texts")
    return texts


def _labels(values: Iterable[str], count: int) -> tuple[str | None, ...]:
    return tuple(label or None for label in _texts(values, count))


def _shortest(value: float) -> float:
    """Convert a float32 that arrived as a double to the shortest decimal: 0.95, not 0.949999988."""
    return float(str(np.float32(value)))


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
