"""Toy server: the gRPC services over eleven images with distances known from geometry.

Image i lies at an angle of 10 i degrees on the unit circle, so the cosine
distance of images i and j is 1 - cos(10 (i - j) degrees). The last image lies
opposite, has no label and no cluster, and its file is gone.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from PIL import Image

import lookalike
from lookalike import wire
from lookalike.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    collection_pb2,
    collection_pb2_grpc,
    experiment_pb2,
    experiment_pb2_grpc,
    filter_pb2,
    search_pb2,
    search_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    types_pb2,
)

KEYS = [f"{'dogs' if i < 5 else 'cats'}/{i:02}.jpg" for i in range(10)] + ["other/ünï 10.jpg"]
LABELS = ["dogs"] * 5 + ["cats"] * 5 + [""]
ANGLES = np.deg2rad([10.0 * i for i in range(10)] + [225.0])
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
CENTROIDS = VECTORS[[2, 7]]
CLUSTERS = [0] * 5 + [1] * 5 + [-1]
FINGERPRINT = "f" * 64
MAX_MESSAGE = 16 << 20


def color(image_id: int) -> tuple[int, int, int]:
    """Return the fill color of an image's thumbnail."""
    return (25 * image_id, 128, 255 - 25 * image_id)


def embed(picture: bytes) -> np.ndarray:
    """Embed with the toy network: the redder an image, the nearer to 90 degrees."""
    with Image.open(io.BytesIO(picture)) as image:
        red = np.asarray(image.convert("RGB"), np.float64)[..., 0].mean()
    angle = np.deg2rad(90 * red / 255)
    return np.array([np.cos(angle), np.sin(angle)])


@dataclass
class Fault:
    """Fails the next `times` calls with an error."""

    times: int
    code: grpc.StatusCode
    details: str
    trailing: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Toy:
    """State of a toy server: the calls that it received, and its delay, fault and changes."""

    address: str = ""
    generation: int = 1
    pretrained: bool = True
    image_queries: bool = True
    delay: float = 0.0
    uri_padding: int = 0
    max_batch: int = 256
    fault: Fault | None = None
    change: Callable[[str, object], None] | None = None  # may alter the reply of a method, which is the first argument
    calls: list[str] = field(default_factory=list)
    requests: list[object] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock, repr=False)
    over: Event = field(default_factory=Event, repr=False)

    def reset(self) -> None:
        """Reset the state and end waiting calls, so that a long delay does not slow down the next test."""
        fresh, over = Toy(address=self.address), self.over
        with self.lock:
            self.__dict__.update(fresh.__dict__)
        over.set()

    def until_asked(self) -> None:
        """Wait until a call has arrived, for a minute at most."""
        end = time.monotonic() + 60
        while not self.calls:
            assert time.monotonic() < end, "nobody called"
            time.sleep(0.005)

    def take(self, method: str, request: object) -> tuple[Callable[[], bool], Fault | None]:
        """Record a call; return how it waits, which returns True if its test is over, and how it fails, None if it does
        not.

        Both are fixed when the call begins, so that a call that outlives its test does not
        consume the faults of the next test.
        """
        with self.lock:
            self.calls.append(method)
            self.requests.append(request)
            wait = partial(self.over.wait, self.delay)
            if self.fault is None or self.fault.times == 0:
                return wait, None
            self.fault.times -= 1
            return wait, self.fault

    def fail(self, code: grpc.StatusCode, details: str = "", times: int = 1 << 30, trailing=()) -> None:
        self.fault = Fault(times, code, details, tuple(trailing))

    def served(self, space: str = "toy", batch: int = 1, exact: bool = False, nprobe: int = 0) -> types_pb2.Served:
        return types_pb2.Served(
            collection="circle",
            generation=self.generation,
            space=space,
            device="cpu",
            nprobe=0 if exact else nprobe or 4,
            expected_recall=1.0 if exact else {8: 0.99, 4: 0.95}.get(nprobe or 4, 0.0),
            batch_size=batch,
            pretrained=self.pretrained,
            timings=types_pb2.Timings(resolve_us=1, queue_us=2, search_us=3, lookup_us=4, total_us=1500),
        )


class Watch(grpc.ServerInterceptor):
    """Interceptor that records each call, and fails, delays or alters it as the toy's state says."""

    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None:
            return None
        method = details.method.rpartition("/")[2]

        def answer(request, context):
            if not context.is_active():  # the call of a test that is over
                context.abort(grpc.StatusCode.CANCELLED, "The caller has left.")
            self.toy.metadata.append(dict(context.invocation_metadata()))
            wait, fault = self.toy.take(method, request)
            if wait():
                context.abort(grpc.StatusCode.CANCELLED, "The test is over.")
            if fault is not None:
                context.set_trailing_metadata(fault.trailing)
                context.abort(fault.code, fault.details)
            reply = handler.unary_unary(request, context)
            if self.toy.change is not None:
                self.toy.change(method, reply)
            return reply

        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


def row_of(key: str, context: grpc.ServicerContext) -> int:
    if key not in KEYS:
        context.abort(grpc.StatusCode.NOT_FOUND, f"The collection circle has no image with the key {key!r}.")
    return KEYS.index(key)


def check_rows(ids, context) -> list[int]:
    for image_id in ids:
        if not 0 <= image_id < len(KEYS):
            context.abort(grpc.StatusCode.NOT_FOUND, f"The collection circle has no image with the id {image_id}.")
    return list(ids)


def unreadable(request) -> set[int]:
    """Return the rows of images that cannot be decoded, if errors are requested by row."""
    if not request.row_errors:
        return set()
    found = set()
    for row, data in enumerate(request.query.images.data):
        try:
            embed(data)
        except OSError:
            found.add(row)
    return found


def told(errors: set[int]) -> list[types_pb2.RowError]:
    return [types_pb2.RowError(row=row, message=f"Image {row} cannot be decoded.") for row in sorted(errors)]


def resolve(toy: Toy, batch: types_pb2.QueryBatch, context, errors=frozenset()) -> tuple[np.ndarray, list[int | None]]:
    """Return the query vectors, and the stored image of each query by key or id."""
    kind = batch.WhichOneof("kind")
    count = batch.vectors.values.shape[0] if kind == "vectors" else 0
    count = count or len(batch.images.data if kind == "images" else getattr(batch, kind).values)
    if count > toy.max_batch:
        sentence = f"The call has {count} queries; it must have 1 to {toy.max_batch}."
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, sentence)
    if kind == "vectors":
        if batch.vectors.space_fingerprint not in ("", FINGERPRINT):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The vectors are of another space.")
        vectors = wire.decode(batch.vectors.values).astype(np.float64)
        if vectors.shape[1] != 2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The space toy has dimension 2, not {vectors.shape[1]}.")
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), [None] * len(vectors)
    if kind == "images":
        if not toy.image_queries:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "Images cannot be embedded here.")
        vectors = [[0.0, 1.0] if row in errors else embed(data) for row, data in enumerate(batch.images.data)]
        return np.stack(vectors), [None] * len(vectors)
    if kind == "texts":
        # The text "up" is at the last image's place, any other text at the first dog's.
        vectors = [[0.0, 1.0] if text == "up" else VECTORS[0] for text in batch.texts.values]
        return np.stack(vectors), [None] * len(vectors)
    if kind == "keys":
        rows = [row_of(key, context) for key in batch.keys.values]
    else:
        rows = check_rows(batch.ids.values, context)
    return VECTORS[rows], list(rows)


def page_of(rows: list[int], size: int, token: str, toy: Toy, context) -> tuple[list[int], str]:
    size = size or 100
    generation, start = map(int, token.split(":")) if token else (toy.generation, 0)
    if generation != toy.generation:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "The page token is of another generation: start again.")
    following = f"{toy.generation}:{start + size}" if start + size < len(rows) else ""
    return rows[start : start + size], following


def meets(asked: filter_pb2.Filter, label: str) -> bool:
    """Return True if a label meets the comparison of a filter, = or !=; no label meets neither."""
    compared = asked.compare
    equal = label == compared.value.text
    return bool(label) and equal == (compared.operator == filter_pb2.OPERATOR_EQUAL)


class Search(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def Search(self, request, context):
        errors = unreadable(request)
        vectors, own = resolve(self.toy, request.query, context, errors)
        if request.k > 1000:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"k is {request.k}, and may be 1000 at most.")
        nprobe = {"nprobe": request.nprobe, "recall": 8}.get(request.WhichOneof("effort"), 0)
        matches = {i for i in range(len(KEYS)) if not request.HasField("filter") or meets(request.filter, LABELS[i])}
        counts, rows, distances = [], [], []
        for query, (vector, row) in enumerate(zip(vectors, own, strict=True)):
            if query in errors:
                counts.append(0)
                continue
            away = np.round(1 - VECTORS @ vector, 9)
            own = set() if request.include_self else {row}
            order = [i for i in np.lexsort((np.arange(len(away)), away)) if i in matches - own][: request.k]
            counts.append(len(order))
            rows += order
            distances += [away[i] for i in order]
        neighbors = search_pb2.Neighbors(
            counts=counts,
            ids=wire.encode(np.array(rows, np.int64)),
            distances=wire.encode(np.array(distances, np.float32)),
            keys=[KEYS[i] for i in rows],
            labels=[LABELS[i] for i in rows],
            uris=[f"/photos/{KEYS[i]}" for i in rows] if request.fields.uris else [],
        )
        if request.fields.vectors:
            neighbors.vectors.CopyFrom(wire.encode(VECTORS[rows].astype(np.float32)))
        served = self.toy.served(request.space or "toy", len(vectors), request.exact, nprobe)
        if request.HasField("filter"):
            served.plan.CopyFrom(types_pb2.Plan(strategy="exact", filter="label", matches=len(matches), rows=len(KEYS)))
        return search_pb2.SearchResponse(
            neighbors=neighbors, served=served, errors=told(errors), metric=collection_pb2.METRIC_COSINE
        )

    def GetVectors(self, request, context):
        vectors, _ = resolve(self.toy, request.query, context)
        return search_pb2.GetVectorsResponse(
            vectors=wire.encode(vectors.astype(np.float32)), space_fingerprint=FINGERPRINT, served=self.toy.served()
        )


def members_of(rows: list[int]) -> cluster_pb2.Members:
    apart = np.linalg.norm(VECTORS[rows][:, None] - CENTROIDS[None], axis=2).reshape(-1, 2)
    near, far = apart.min(axis=1), apart.max(axis=1)
    return cluster_pb2.Members(
        ids=wire.encode(np.array(rows, np.int64)),
        distances=wire.encode(near.astype(np.float32)),
        margins=wire.encode((far - near).astype(np.float32)),
        keys=[KEYS[i] for i in rows],
        labels=[LABELS[i] for i in rows],
    )


def cluster_rows(cluster: int) -> list[int]:
    rows = [i for i, c in enumerate(CLUSTERS) if c == cluster]
    return sorted(rows, key=lambda i: (round(float(np.linalg.norm(VECTORS[i] - CENTROIDS[cluster])), 9), i))


class Cluster(cluster_pb2_grpc.ClusterServiceServicer):
    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def check(self, clustering: str, context) -> None:
        if clustering != "toy/halves":
            context.abort(grpc.StatusCode.NOT_FOUND, f"No clustering {clustering!r}; there is: toy/halves.")

    def GetMembership(self, request, context):
        errors = unreadable(request)
        vectors, own = resolve(self.toy, request.query, context, errors)
        for name in request.clusterings:
            self.check(name, context)
        apart = np.sort(np.linalg.norm(vectors[:, None] - CENTROIDS[None], axis=2), axis=1)
        computed = np.linalg.norm(vectors[:, None] - CENTROIDS[None], axis=2).argmin(axis=1)
        chosen = [int(c) if row is None else CLUSTERS[row] for c, row in zip(computed, own, strict=True)]
        chosen = [-1 if query in errors else cluster for query, cluster in enumerate(chosen)]
        gone = np.array([c < 0 for c in chosen])
        answer = cluster_pb2.Membership(
            clustering="toy/halves",
            clusters=wire.encode(np.array(chosen, np.int32)),
            distances=wire.encode(np.where(gone, np.nan, apart[:, 0]).astype(np.float32)),
            margins=wire.encode(np.where(gone, np.nan, apart[:, 1] - apart[:, 0]).astype(np.float32)),
            sizes=wire.encode(np.array([CLUSTERS.count(c) if c >= 0 else 0 for c in chosen], np.int64)),
            nearest=[members_of(cluster_rows(c)[: request.members] if c >= 0 else []) for c in chosen],
            metric=collection_pb2.METRIC_L2,
        )
        served = self.toy.served(batch=len(vectors))
        return cluster_pb2.GetMembershipResponse(memberships=[answer], served=served, errors=told(errors))

    def ListMembers(self, request, context):
        self.check(request.clustering, context)
        rows = cluster_rows(request.cluster)
        page, following = page_of(rows, request.page_size, request.page_token, self.toy, context)
        return cluster_pb2.ListMembersResponse(
            members=members_of(page),
            total=len(rows),
            next_page_token=following,
            served=self.toy.served(),
            metric=collection_pb2.METRIC_L2,
        )

    def ListClusters(self, request, context):
        self.check(request.clustering, context)
        means = [np.linalg.norm(VECTORS[cluster_rows(c)] - CENTROIDS[c], axis=1).mean() for c in (0, 1)]
        return cluster_pb2.ListClustersResponse(
            sizes=wire.encode(np.array([5, 5], np.int64)),
            mean_distances=wire.encode(np.array(means, np.float32)),
            metric=collection_pb2.METRIC_L2,
            served=self.toy.served(),
        )


class Collection(collection_pb2_grpc.CollectionServiceServicer):
    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def GetCollection(self, request, context):
        ladder = [collection_pb2.RecallPoint(nprobe=4, recall=0.95), collection_pb2.RecallPoint(nprobe=8, recall=0.99)]
        index = collection_pb2.Index(
            factory="IVF8,Flat",
            metric=collection_pb2.METRIC_COSINE,
            nlist=8,
            default_nprobe=4,
            recall=ladder,
            images=11,
        )
        untrained = {} if self.toy.pretrained else {"weights": "untrained:7"}
        space = {"model": "toynet", "weights": "imagenet:V1", "pretrained": self.toy.pretrained, "layer": "avgpool"}
        space |= {"pooling": "avg", "dim": 2, "images": 11, "fingerprint": FINGERPRINT} | untrained
        return collection_pb2.GetCollectionResponse(
            name="circle",
            generation=self.toy.generation,
            images=11,
            rejects=1,
            labels=2,
            default_space="toy",
            spaces=[
                collection_pb2.Space(name="toy", index=index, **space),
                collection_pb2.Space(name="toy.max", **space),
            ],
            clusterings=[
                collection_pb2.Clustering(name="toy/halves", space="toy", k=2, spherical=True, inertia=1.25, images=10)
            ],
        )

    def columns(self, rows: list[int]) -> collection_pb2.ImageColumns:
        return collection_pb2.ImageColumns(
            ids=wire.encode(np.array(rows, np.int64)),
            keys=[KEYS[i] for i in rows],
            labels=[LABELS[i] for i in rows],
            uris=[f"/photos/{KEYS[i]}" + "x" * self.toy.uri_padding for i in rows],
            widths=wire.encode(np.array([640 + i for i in rows], np.int32)),
            heights=wire.encode(np.array([480 + i for i in rows], np.int32)),
        )

    def GetImages(self, request, context):
        if request.WhichOneof("which") == "keys":
            rows = [row_of(key, context) for key in request.keys.values]
        else:
            rows = check_rows(request.ids.values, context)
        return collection_pb2.GetImagesResponse(images=self.columns(rows), served=self.toy.served(""))

    def ListImages(self, request, context):
        rows = [i for i in range(len(KEYS)) if request.label in ("", LABELS[i])]
        if request.order == collection_pb2.IMAGE_ORDER_SPREAD:  # 7 and the number of rows have no common divisor
            rows = [rows[7 * place % len(rows)] for place in range(len(rows))]
        page, following = page_of(rows, request.page_size, request.page_token, self.toy, context)
        return collection_pb2.ListImagesResponse(
            images=self.columns(page), total=len(rows), next_page_token=following, served=self.toy.served("")
        )

    def ListGraph(self, request, context):
        which = request.WhichOneof("which")
        if which == "keys":
            rows = [row_of(key, context) for key in request.keys.values]
        else:
            rows = list(range(len(KEYS))) if which is None else check_rows(request.ids.values, context)
        page, following = page_of(list(rows), request.page_size, request.page_token, self.toy, context)
        away = np.round(1 - VECTORS @ VECTORS.T, 9)
        np.fill_diagonal(away, np.inf)
        order = np.argsort(away, axis=1, kind="stable")[page][:, : request.k or 3]
        return collection_pb2.ListGraphResponse(
            ids=wire.encode(np.array(page, np.int64)),
            keys=[KEYS[row] for row in page],
            neighbors=wire.encode(order.astype(np.int64)),
            distances=wire.encode(np.take_along_axis(away[page], order, axis=1).astype(np.float32)),
            metric=collection_pb2.METRIC_COSINE,
            method="index",
            recall=0.97,
            total=len(rows),
            next_page_token=following,
            served=self.toy.served(""),
        )

    def ListLabels(self, request, context):
        names = sorted({label for label in LABELS if label})
        page, following = page_of(list(range(len(names))), request.page_size, request.page_token, self.toy, context)
        labels = [names[place] for place in page]
        return collection_pb2.ListLabelsResponse(
            labels=labels,
            counts=wire.encode(np.array([LABELS.count(label) for label in labels], np.int64)),
            total=len(names),
            next_page_token=following,
            served=self.toy.served(""),
        )

    def GetThumbnails(self, request, context):
        if len(request.ids) > self.toy.max_batch:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The call names {len(request.ids)} images.")
        jpegs = []
        for row in check_rows(request.ids, context):
            buffer = io.BytesIO()
            size = request.size or 160
            Image.new("RGB", (size, size * 3 // 4), color(row)).save(buffer, format="JPEG", quality=95)
            jpegs.append(b"" if row == 10 else buffer.getvalue())
        return collection_pb2.GetThumbnailsResponse(jpegs=jpegs, served=self.toy.served(""))


def echoed(method: str, request) -> experiment_pb2.ExperimentResult:
    """Return a result whose settings are the fields of the request, as text."""
    told = [(each.name, str(getattr(request, each.name)).strip()) for each, _ in request.ListFields()]
    settings = [experiment_pb2.Setting(name=n, value=experiment_pb2.SettingValue(text=t)) for n, t in told]
    return experiment_pb2.ExperimentResult(kind=method, settings=settings)


def numbers(name: str, values, **more) -> experiment_pb2.Column:
    return experiment_pb2.Column(name=name, numbers=wire.encode(np.array(values)), **more)


def texts(name: str, values, **more) -> experiment_pb2.Column:
    return experiment_pb2.Column(name=name, texts=experiment_pb2.Texts(values=values), **more)


def map_tables(rows: list[int]) -> list[experiment_pb2.Table]:
    """Return the tables of a stored map, of the points in `rows`."""
    missing = [place for place, row in enumerate(rows) if not LABELS[row]]
    nulls = {"nulls": wire.encode(np.array(missing, np.int64))} if missing else {}
    near = [[other for other in range(row) if other >= row - 2] for row in rows]
    offsets = wire.encode(np.cumsum([0, *map(len, near)]).astype(np.int64))
    points = [
        numbers("id", np.array(rows, np.int64)),
        numbers("x", np.array(rows, np.float64) / 2),
        numbers("xy", np.array([[row, -row] for row in rows], np.float32).reshape(-1, 2)),
        texts("label", [LABELS[row] for row in rows], **nulls),
        numbers("cluster", np.array([max(0, CLUSTERS[row]) for row in rows], np.int32), **nulls),
        numbers("odd", np.array([row % 2 == 1 for row in rows], bool)),
        numbers("near", np.array([each for one in near for each in one], np.int64), offsets=offsets),
        texts("near_keys", [KEYS[each] for one in near for each in one], offsets=offsets),
    ]
    axes = [row for row in rows if row < 2]
    return [
        experiment_pb2.Table(name="points", rows=len(rows), columns=points),
        experiment_pb2.Table(name="axes", rows=len(axes), columns=[texts("axis", ["xy"[row] for row in axes])]),
    ]


class Experiments(experiment_pb2_grpc.ExperimentServiceServicer):
    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def GetClassMatrix(self, request, context):
        columns = [texts("label", ["dogs", "cats"]), numbers("images", [5, 5]), numbers("cluster", [0, 1])]
        result = experiment_pb2.ExperimentResult(
            kind="class_matrix",
            settings=[experiment_pb2.Setting(name="clustering", value=value(request.clustering or "toy/halves"))],
            tables=[experiment_pb2.Table(name="counts", rows=2, columns=columns)],
            figures=[
                experiment_pb2.Figure(name="purity", value=1.0),
                experiment_pb2.Figure(name="nmi", value=0.9999999999),
            ],
            findings=["Every label has a cluster of its own."],
        )
        return experiment_pb2.GetClassMatrixResponse(result=result, served=self.toy.served())

    def GetAttribution(self, request, context):
        row = row_of(request.image.key, context) if request.image.key else request.image.id
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), color(row)).save(buffer, format="PNG")
        chosen = request.class_index if request.HasField("class_index") else 256
        return experiment_pb2.GetAttributionResponse(
            png=buffer.getvalue(),
            class_index=chosen,
            class_name="Newfoundland" if chosen == 256 else f"class {chosen}",
            probability=0.75 if chosen == 256 else float("nan"),
            served=self.toy.served(),
        )

    def ListResults(self, request, context):
        settings = {"perplexity": 30.5, "seed": 1234, "whiten": True, "color": None, "labels": ["dogs", 7]}
        stored = experiment_pb2.StoredResult(
            name="map/toy",
            result=experiment_pb2.ExperimentResult(
                kind="map",
                settings=[experiment_pb2.Setting(name=name, value=value(each)) for name, each in settings.items()],
                figures=[experiment_pb2.Figure(name="kept", value=0.25)],
                findings=["Two arcs."],
            ),
            tables=[
                experiment_pb2.TableLength(name="points", rows=11),
                experiment_pb2.TableLength(name="axes", rows=2),
            ],
            out_of_date=self.toy.generation > 1,
        )
        return experiment_pb2.ListResultsResponse(results=[stored], served=self.toy.served(""))

    def GetResult(self, request, context):
        if request.name != "map/toy":
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"The collection circle has no stored result {request.name!r}; it has: map/toy.",
            )
        page, following = page_of(
            list(range(len(KEYS))), min(request.page_size or 4, 4), request.page_token, self.toy, context
        )
        tables = [table for table in map_tables(page) if not request.tables or table.name in request.tables]
        return experiment_pb2.GetResultResponse(
            result=experiment_pb2.ExperimentResult(kind="map", tables=tables, findings=["Two arcs."]),
            total=len(KEYS),
            next_page_token=following,
            out_of_date=self.toy.generation > 1,
            served=self.toy.served(""),
        )


def value(setting: object) -> experiment_pb2.SettingValue:
    """Return a setting as a message."""
    if isinstance(setting, list):
        values = experiment_pb2.SettingValues(values=[value(each) for each in setting])
        return experiment_pb2.SettingValue(list=values)
    kind = {bool: "flag", int: "integer", float: "number", str: "text"}.get(type(setting))
    return experiment_pb2.SettingValue(**({kind: setting} if kind else {}))


def echo(method: str):
    """Return a handler that replies with `echoed`."""
    reply = getattr(experiment_pb2, f"{method}Response")

    def answer(self, request, context):
        return reply(result=echoed(method, request), served=self.toy.served())

    return answer


for _method in (
    "GetImageClusters",
    "GetClassAccuracies",
    "ListOddballs",
    "ListMistakes",
    "SplitLabel",
    "InterpretClusters",
    "ExplainImage",
    "ChooseK",
    "GetDendrogram",
    "GetMap",
    "CompareSpaces",
    "GetEvolution",
    "FindDuplicates",
    "FindLeaks",
    "ListLabelIssues",
    "SampleImages",
    "ListQualityFlags",
):
    setattr(Experiments, _method, echo(_method))


class Server(server_pb2_grpc.ServerServiceServicer):
    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def Reload(self, request, context):
        return server_pb2.ReloadResponse(generation=self.toy.generation, previous=self.toy.generation)

    def ListCollections(self, request, context):
        only = server_pb2.ServedCollection(name="toys", generation=3, images=len(KEYS))
        return server_pb2.ListCollectionsResponse(collections=[only])

    def GetServerInfo(self, request, context):
        return server_pb2.GetServerInfoResponse(
            version="1.2.3",
            collection="circle",
            generation=self.toy.generation,
            placement="cpu",
            devices=["cpu"],
            search_threads=2,
            embed_threads=1,
            limits=server_pb2.Limits(
                max_batch=self.toy.max_batch,
                max_k=1000,
                max_nprobe=8,
                max_image_bytes=20_000_000,
                max_image_pixels=100_000_000,
                max_message_bytes=MAX_MESSAGE,
                max_page_size=1000,
                max_members=100,
                max_queue=512,
                max_experiments=8,
                max_table_rows=1000,
            ),
            image_queries=self.toy.image_queries,
            image_query_problem="" if self.toy.image_queries else "the weights are not here",
        )


class Awaited:
    """The asyncio client with the interface of the synchronous one, so that one test covers both."""

    def __init__(self, runner: asyncio.Runner, client: Any) -> None:
        self._runner, self._client = runner, client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if inspect.isawaitable(result):
                return self._runner.run(self._wait(result))
            return AwaitedPager(self._runner, result)

        return call

    @staticmethod
    async def _wait(result: Any) -> Any:
        return await result


class AwaitedPager:
    def __init__(self, runner: asyncio.Runner, pager: Any) -> None:
        self._runner, self._pager = runner, pager

    def __iter__(self) -> Iterator[Any]:
        return self._drain(aiter(self._pager))

    def pages(self) -> Iterator[Any]:
        return self._drain(self._pager.pages())

    def _drain(self, iterator: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(iterator)

        while True:
            try:
                item = self._runner.run(following())
            except StopAsyncIteration:
                return
            yield item


Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "aio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Open a client of either kind, used like lookalike.Client, and close it after the test."""
    if request.param == "sync":
        opened = []

        def connect_sync(address: str, **settings: Any) -> Any:
            opened.append(lookalike.Client(address, **settings))
            return opened[-1]

        yield connect_sync
        for client in opened:
            client.close()
    else:
        with asyncio.Runner() as runner:
            wrapped = []

            def connect_aio(address: str, **settings: Any) -> Any:
                wrapped.append(Awaited(runner, lookalike.aio.Client(address, **settings)))
                return wrapped[-1]

            yield connect_aio
            for client in wrapped:
                client.close()


@pytest.fixture
def client(connect: Connect, toy: Toy) -> Any:
    """A client of the toy server; each test runs with both kinds."""
    return connect(toy.address)


def make_server(toy: Toy) -> grpc.Server:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.so_reuseport", 0)]
    pool = futures.ThreadPoolExecutor(4)
    server = grpc.server(pool, interceptors=[Watch(toy)], options=options)
    search_pb2_grpc.add_SearchServiceServicer_to_server(Search(toy), server)
    cluster_pb2_grpc.add_ClusterServiceServicer_to_server(Cluster(toy), server)
    collection_pb2_grpc.add_CollectionServiceServicer_to_server(Collection(toy), server)
    experiment_pb2_grpc.add_ExperimentServiceServicer_to_server(Experiments(toy), server)
    server_pb2_grpc.add_ServerServiceServicer_to_server(Server(toy), server)
    checks = health.HealthServicer()
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    checks.set("circle", health_pb2.HealthCheckResponse.SERVING)
    checks.set("draining", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    return server


@pytest.fixture(scope="session")
def _running_toy() -> Iterator[Toy]:
    toy = Toy()
    server = make_server(toy)
    toy.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield toy
    server.stop(None).wait()


@pytest.fixture
def toy(_running_toy: Toy) -> Iterator[Toy]:
    """The toy server in its initial state."""
    _running_toy.reset()
    yield _running_toy
    _running_toy.reset()


@pytest.fixture
def cli(toy: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command line against the toy server; return the exit code, output and errors."""
    from lookalike.cli._run import run

    monkeypatch.setenv("LOOKALIKE_SERVER", toy.address)
    monkeypatch.delenv("LOOKALIKE_COLLECTION", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def start_toy() -> Iterator[Callable[[int], grpc.Server]]:
    """Start a toy server on a port of loopback."""
    started: list[grpc.Server] = []

    def start(port: int) -> grpc.Server:
        server = make_server(Toy())
        assert server.add_insecure_port(f"127.0.0.1:{port}") == port
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop(None).wait()


@pytest.fixture
def toy_everywhere() -> Iterator[int]:
    """The port of a toy server that listens on all addresses of this machine."""
    server = make_server(Toy())
    port = server.add_insecure_port("0.0.0.0:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.fixture(scope="session")
def geometry() -> Callable[[float], float]:
    """Return the cosine distance of two images at an angle of `degrees`."""
    return lambda degrees: 1 - float(np.cos(np.deg2rad(degrees)))


@dataclass(frozen=True)
class Certificates:
    """Paths of a certificate authority, and of certificates and keys that it signed."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of a private authority, for 127.0.0.1 and for the name "lookalike.test"."""
    folder = tmp_path_factory.mktemp("certificates")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    try:
        openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test ca")
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make certificates")
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:lookalike.test")
        signed = ["-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl("x509", "-req", *signed, "-out", f"{name}.pem", "-days", "2", "-extfile", "names")
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(folder / name for name in names))


@pytest.fixture(params=[True], ids=["mutual"])
def tls_address(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[str]:
    """The address of a toy server with a certificate of the private authority, which requires a client certificate.

    Parametrize it indirectly with False for a server that does not require one.
    """
    server = make_server(Toy())
    pair = (certificates.server_key.read_bytes(), certificates.server_cert.read_bytes())
    authority = certificates.ca.read_bytes() if request.param else None
    credentials = grpc.ssl_server_credentials([pair], authority, require_client_auth=request.param)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
