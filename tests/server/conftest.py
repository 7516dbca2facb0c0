"""Small collections with known vectors, and real servers on loopback that serve them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import grpc
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.rpc import error_details_pb2, status_pb2
from PIL import Image
from tests.patience import PATIENT_LIMITS
from tests.server.certificates import certificates  # noqa: F401 - a fixture

from lookalike import local_secret, wire
from lookalike.v1 import (
    cluster_pb2_grpc,
    collection_pb2_grpc,
    experiment_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
    server_pb2_grpc,
    types_pb2,
    update_pb2_grpc,
)
from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.attributes.attach import attach as attach_table
from lookalike_indexer.attributes.table import TableColumns
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.index_ids import write_ids
from lookalike_indexer.collection.manifest import (
    FORMAT,
    ClusteringEntry,
    IndexEntry,
    Manifest,
    ModelEntry,
    RecallPoint,
    SourceEntry,
    SpaceEntry,
)
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric, ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embedding_result import EmbeddingResult
from lookalike_indexer.errors import WeightsError
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import faiss_metric, prepare
from lookalike_server.app import App
from lookalike_server.common.limits import Limits
from lookalike_server.common.settings import Listen, ServeSettings
from lookalike_server.transport.access import ADMIN, WRITE

PREPROCESSING = PreprocessingSpec(64, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear", True)
MODEL = ModelSpec("squeezenet1_1", 1000, WeightsSpec("untrained", "7", "0" * 64), PREPROCESSING)
SPACE = SpaceSpec(MODEL, "flatten", "avg")


@dataclass
class Toy:
    """A collection and its ground truth. Image i has id 2 i + 5; the last one has no embedding."""

    root: Path
    vectors: Float32
    ids: Int64
    metric: Metric = "cosine"
    centroids: Float32 = field(default_factory=lambda: np.empty((0, 0), np.float32))
    fingerprint: str = SPACE.fingerprint

    @property
    def storage(self) -> Storage:
        return Storage(self.root)

    def key(self, image_id: int) -> str:
        return f"label{image_id % 3}/é {image_id:06d}.jpg"

    def brute_force(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Return ids and distances of the k nearest by (distance, id), in float64."""
        left, right = queries.astype(np.float64), self.vectors.astype(np.float64)
        if self.metric == "cosine":
            left = left / np.linalg.norm(left, axis=1, keepdims=True)
            right = right / np.linalg.norm(right, axis=1, keepdims=True)
            distances = 1 - left @ right.T
        else:
            distances = np.linalg.norm(left[:, None] - right[None], axis=2)
        order = np.lexsort((np.broadcast_to(self.ids, distances.shape), distances), axis=1)[:, :k]
        return self.ids[order], np.take_along_axis(distances, order, axis=1).astype(np.float32)


def random_vectors(rows: int = 500, dim: int = 16, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


MakeToy = Callable[..., Toy]


@pytest.fixture
def make_toy(tmp_path: Path) -> MakeToy:
    """Make and publish a collection; the same name again publishes the next generation."""
    return toys_in(tmp_path)


def toys_in(tmp_path: Path) -> MakeToy:
    """Return a function that makes collections in a folder, see `make_toy`."""

    def make(
        vectors: Float32 | None = None,
        *,
        index: str | None = "Flat",
        metric: Metric = "cosine",
        clusters: int = 0,
        default_nprobe: int = 4,
        part_rows: int = 200,
        name: str = "toys",
        index_ids: bool = False,
    ) -> Toy:
        values = random_vectors() if vectors is None else vectors
        ids = np.arange(len(values), dtype=np.int64) * 2 + 5
        toy = Toy(tmp_path / name, values, ids, metric)
        storage = toy.storage
        # A folder for each generation: written files never change.
        number = len(generations.numbers(storage)) + 1
        draft = _with_images(toy, storage, number * 1000, part_rows, tmp_path / "pictures")
        if index is not None:
            draft = _with_index(toy, storage, draft, index, default_nprobe, number)
            if index_ids:
                entry = draft.indexes["tiny/main"]
                ids = write_ids(storage, entry.path, draft.spaces["tiny"].parts)
                draft = dataclasses.replace(draft, indexes={"tiny/main": dataclasses.replace(entry, ids=ids)})
        if clusters:
            draft = _with_clustering(toy, storage, draft, clusters, number)
        generations.publish(storage, draft)
        return toy

    return make


def _with_images(toy: Toy, storage: Storage, first_part: int, part_rows: int, pictures: Path) -> Manifest:
    all_ids = np.append(toy.ids, toy.ids[-1] + 2)
    keys = [toy.key(number) for number in all_ids]
    labels = [f"label{number % 3}" if number % 3 else None for number in all_ids]
    pictures.mkdir(exist_ok=True)
    Image.new("RGB", (40, 20), (200, 30, 30)).save(pictures / "red.jpg")
    uris = [str(pictures / ("red.jpg" if number != all_ids[1] else "gone.jpg")) for number in all_ids]
    parts = range(first_part, first_part - (-len(toy.ids) // part_rows))
    for offset, part in enumerate(parts):
        rows = slice(offset * part_rows, (offset + 1) * part_rows)
        here = rows if part != parts[-1] else slice(rows.start, None)
        count = len(keys[here])
        columns = [all_ids[here], keys[here], labels[here], uris[here], [10] * count, [0] * count]
        write_part(storage, layout.source(part), _table(columns, schema.SOURCE))
        columns = [*columns[:5], ["JPEG"] * count, [40] * count, [20] * count]
        write_part(storage, layout.images(part), _table(columns, schema.IMAGES))
        part_schema = schema.embeddings(toy.vectors.shape[1], "float32")
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(toy.vectors[rows].ravel()), type=part_schema.field("embedding").type
        )
        table = pa.table([pa.array(toy.ids[rows]), lists], schema=part_schema)
        write_part(storage, layout.embeddings("tiny", part), table)
    space = SpaceEntry(
        model="tiny",
        layer="flatten",
        pooling="avg",
        dim=toy.vectors.shape[1],
        dtype="float32",
        fingerprint=SPACE.fingerprint,
        rows=len(toy.ids),
        parts=[layout.embeddings("tiny", part) for part in parts],
    )
    return Manifest(
        format=FORMAT,
        generation=0,
        source=SourceEntry("directory", str(pictures)),
        files={},
        listing=[layout.source(part) for part in parts],
        images=[layout.images(part) for part in parts],
        models={"tiny": ModelEntry(MODEL, "cpu float32", [], [])},
        spaces={"tiny": space},
        default_space="tiny",
    )


def _table(columns: Sequence[Any], table_schema: pa.Schema) -> pa.Table:
    """Return a table of the first columns of a schema; the other columns are null."""
    padded = [*columns, *[[None] * len(columns[0])] * (len(table_schema) - len(columns))]
    arrays = [
        pa.array(column, type=column_field.type) for column, column_field in zip(padded, table_schema, strict=True)
    ]
    return pa.table(arrays, schema=table_schema)


def build_index(vectors: Float32, factory: str, metric: Metric) -> faiss.Index:
    """Build a faiss index of some vectors, without faiss's warnings about few training vectors.

    Product quantizers are not ordered for polysemous searches, which nothing uses: that would take 7 CPU seconds.
    """
    index = faiss.index_factory(vectors.shape[1], factory, faiss_metric(metric))
    if isinstance(index, faiss.IndexPQ):
        index.do_polysemous_training = False
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf = faiss.downcast_index(ivf)
        ivf.cp.min_points_per_centroid = 1
        if isinstance(ivf, faiss.IndexIVFPQ):
            ivf.pq.cp.min_points_per_centroid = 1
            ivf.do_polysemous_training = False
    prepared = prepare(vectors, metric)
    index.train(prepared)
    index.add(prepared)
    return index


def _with_index(
    toy: Toy, storage: Storage, draft: Manifest, factory: str, default_nprobe: int, number: int
) -> Manifest:
    index = build_index(toy.vectors, factory, toy.metric)
    path = layout.index("tiny", f"{number:016d}")
    with storage.staged(path) as temporary:
        faiss.write_index(index, str(temporary))
    ivf = faiss.try_extract_index_ivf(index)
    nlist = ivf.nlist if ivf is not None else 0
    ladder = [RecallPoint(2, 0.7), RecallPoint(8, 0.95)] if nlist else []
    entry = IndexEntry(
        space="tiny",
        factory=factory,
        metric=toy.metric,
        nlist=nlist,
        default_nprobe=default_nprobe if nlist else 0,
        recall=ladder,
        recall_queries=100 if ladder else 0,
        trained_on=len(toy.ids),
        seed=1,
        rows=len(toy.ids),
        path=path,
        digest="0" * 64,
    )
    return dataclasses.replace(draft, indexes={"tiny/main": entry})


def _with_clustering(toy: Toy, storage: Storage, draft: Manifest, k: int, number: int) -> Manifest:
    """Add a clustering whose centroids are the first k vectors, since serving is tested, not training."""
    vectors = prepare(toy.vectors, "cosine")
    toy.centroids = vectors[:k].copy()
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - toy.centroids[None], axis=2)
    ranked = np.sort(distances, axis=1)
    folder = layout.clustering("tiny", f"k{k}", f"{number:016d}")
    centroid_schema = schema.centroids(vectors.shape[1])
    lists = pa.FixedSizeListArray.from_arrays(
        pa.array(toy.centroids.ravel()), type=centroid_schema.field("centroid").type
    )
    table = pa.table([pa.array(np.arange(k, dtype=np.int32)), lists], schema=centroid_schema)
    write_part(storage, f"{folder}/centroids.parquet", table)
    columns = [toy.ids, distances.argmin(axis=1), ranked[:, 0], ranked[:, 1] - ranked[:, 0]]
    write_part(storage, f"{folder}/assignments/part-000000.parquet", _table(columns, schema.ASSIGNMENTS))
    entry = ClusteringEntry(
        space="tiny",
        name=f"k{k}",
        k=k,
        metric="cosine",
        strategy="kmeans",
        seed=1,
        iterations=1,
        restarts=1,
        trained_on=len(toy.ids),
        inertia=[1.0],
        rows=len(toy.ids),
        centroids=f"{folder}/centroids.parquet",
        assignments=[f"{folder}/assignments/part-000000.parquet"],
        digest="0" * 64,
    )
    return dataclasses.replace(draft, clusterings={f"tiny/k{k}": entry})


@pytest.fixture
def attach(tmp_path: Path) -> Callable[..., None]:
    """Attach columns to a toy's images, in the order of its ids, and publish that: `attach(toy, price=[...])`."""

    def run(toy: Toy, **columns: Sequence[Any]) -> None:
        storage = toy.storage
        count = len(next(iter(columns.values())))
        keys = [toy.key(int(number)) for number in toy.ids[:count]]
        path = tmp_path / "shots.parquet"
        pq.write_table(pa.table({"file": keys, **columns}), path)
        draft, _ = attach_table(
            storage, generations.require_latest(storage), path, "shots", TableColumns("file"), Silent()
        )
        generations.publish(storage, draft)

    return run


class FakeEmbedder:
    """Stand-in for the embedder: the embedding of b"7" is the toy's vector 7."""

    def __init__(self, vectors: Float32, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.batches: list[int] = []
        self.closed = False
        self.alive, self.hung = True, False
        self._vectors = vectors

    def embed(self, files: list[bytes]) -> EmbeddingResult:
        self.batches.append(len(files))
        failed = {row: "it is no number" for row, file in enumerate(files) if not file.isdigit()}
        numbers = [0 if row in failed else int(file) for row, file in enumerate(files)]
        return EmbeddingResult(self._vectors[numbers], failed=failed)

    def close(self) -> None:
        self.closed = True


@dataclass
class Served:
    """A running server and stubs for it; `own` is the channel of the user who runs it."""

    app: App
    channel: grpc.aio.Channel
    own: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.search = search_pb2_grpc.SearchServiceStub(self.channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(self.channel)
        self.collection = collection_pb2_grpc.CollectionServiceStub(self.channel)
        self.experiment = experiment_pb2_grpc.ExperimentServiceStub(self.channel)
        self.server = server_pb2_grpc.ServerServiceStub(self.own)
        self.update = update_pb2_grpc.UpdateServiceStub(self.own)

    async def neighbors(self, query: types_pb2.QueryBatch, k: int, **parameters: Any) -> search_pb2.SearchResponse:
        return await self.search.Search(search_pb2.SearchRequest(query=query, k=k, **parameters))


class AsLocalUser(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends the server's local secret with the calls that need it, as the commands of the user who runs it do."""

    def __init__(self, address: str) -> None:
        self._port = int(address.rpartition(":")[2])

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        secret = local_secret.find(self._port)
        # gRPC passes bytes.
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        if secret is not None and not details.metadata and method in ADMIN | WRITE:
            metadata = grpc.aio.Metadata(("authorization", f"Bearer {secret}"))
            details = grpc.aio.ClientCallDetails(
                details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
            )
        return await continuation(details, request)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


def patient(limits: Limits | None = None) -> Limits:
    """Return limits for a server under test: times that a test leaves at their defaults are those of PATIENT_LIMITS."""
    chosen, default = limits or Limits(), Limits()
    times = {name: value for name, value in PATIENT_LIMITS.items() if getattr(chosen, name) == getattr(default, name)}
    return dataclasses.replace(chosen, **times)


@pytest.fixture
def serve() -> Serve:
    """Serve a toy on loopback: `async with serve(toy) as served`; keywords go to App and ServeSettings."""

    @asynccontextmanager
    async def run(
        toy: Toy,
        *,
        limits: Limits | None = None,
        devices: Sequence[Any] | None = None,
        open_embedder: Callable[[CollectionReader, str], Any] | None = None,
        experiment_runner: Any = None,
        listen: Listen | None = None,
        **settings: Any,
    ) -> AsyncIterator[Served]:
        def no_weights(reader: CollectionReader, space: str) -> Any:
            raise WeightsError("The weights are not here; put them there.")

        app = App(
            ServeSettings(
                str(toy.root), listen or Listen(port=0), limits=patient(limits), **{"watch": 0.05, **settings}
            ),
            devices=devices,
            open_embedder=open_embedder or no_weights,
            experiment_runner=experiment_runner,
        )
        await app.start()
        try:
            async with (
                grpc.aio.insecure_channel(app.address) as channel,
                grpc.aio.insecure_channel(app.address, interceptors=[AsLocalUser(app.address)]) as own,
            ):
                yield Served(app, channel, own)
        finally:
            # Stop without grace: the callers have gone.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("lookalike_server.transport.grpc_server.QUIET_S", 0.0)
                await app.stop(grace=1)

    return run


@pytest.fixture
def by_vector() -> Callable[..., types_pb2.QueryBatch]:
    def batch(values: npt.NDArray[Any], fingerprint: str = "") -> types_pb2.QueryBatch:
        return types_pb2.QueryBatch(
            vectors=types_pb2.Vectors(values=wire.encode(values), space_fingerprint=fingerprint)
        )

    return batch


@dataclass
class Refused:
    """An error as the caller sees it."""

    code: grpc.StatusCode
    message: str
    reason: str
    fields: list[str]
    retry_after: float | None


@pytest.fixture
def refused() -> Callable[[grpc.aio.AioRpcError], Refused]:
    """Read an error's status and google.rpc details."""

    def read(error: grpc.aio.AioRpcError) -> Refused:
        metadata = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
        assert status.code == error.code().value[0]
        assert status.message == error.details()
        found = Refused(error.code(), error.details() or "", "", [], None)
        for detail in status.details:
            for message in (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            ):
                if detail.Unpack(message):
                    _note(found, message)
        return found

    return read


def _note(found: Refused, message: Any) -> None:
    if isinstance(message, error_details_pb2.ErrorInfo):
        assert message.domain == "lookalike"
        found.reason = message.reason
    elif isinstance(message, error_details_pb2.BadRequest):
        found.fields += [violation.field for violation in message.field_violations]
    else:
        found.retry_after = message.retry_delay.ToMilliseconds() / 1000


@pytest.fixture
def make_embedder() -> Callable[[Toy], FakeEmbedder]:
    return lambda toy: FakeEmbedder(toy.vectors, toy.fingerprint)


@pytest.fixture
def index_of() -> Callable[[Float32, str, Metric], faiss.Index]:
    return build_index
