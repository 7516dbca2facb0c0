"""Small published collections with embeddings chosen by a test, without images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.clustering.tables import write_assignments, write_centroids
from lookalike_indexer.clustering.trained_centroids import Trained
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import (
    FORMAT,
    ClusteringEntry,
    Manifest,
    ModelEntry,
    SourceEntry,
    SpaceEntry,
)
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage

MakeCollection = Callable[..., Storage]


@pytest.fixture
def make_collection(tmp_path: Path) -> MakeCollection:
    """Make a collection of vectors (n, dim): row i has the id 3 * i + 1, so that ids are never confused with rows.

    `labels` are those of the rows; `part_rows` is the size of all parts, or the list of
    their sizes.
    """

    def make(
        vectors: npt.NDArray[Any],
        labels: Sequence[str | None] | None = None,
        part_rows: int | Sequence[int] = 100,
        dtype: str = "float32",
        name: str = "collection",
        space: str = "tiny",
    ) -> Storage:
        storage = Storage(tmp_path / name)
        rows, dim = vectors.shape
        sizes = [part_rows] * (-(-rows // part_rows)) if isinstance(part_rows, int) else part_rows
        ends = np.minimum(np.cumsum(sizes), rows).astype(int)
        pieces = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        ids = np.arange(rows, dtype=np.int64) * 3 + 1
        labels = labels or [None] * rows
        for part, piece in enumerate(pieces):
            write_images(storage, part, ids[piece], labels[piece])
            write_embeddings(storage, layout.embeddings(space, part), ids[piece], vectors[piece], dtype)
        spec = ModelSpec(
            "squeezenet1_1",
            1000,
            WeightsSpec("untrained", "7", "0" * 64),
            PreprocessingSpec(64, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear", True),
        )
        entry = SpaceEntry(
            model="tiny",
            layer="flatten",
            pooling="avg",
            dim=dim,
            dtype="float16" if dtype == "float16" else "float32",
            fingerprint=SpaceSpec(spec, "flatten", "avg").fingerprint,
            rows=rows,
            parts=[layout.embeddings(space, part) for part in range(len(pieces))],
        )
        draft = Manifest(
            format=FORMAT,
            generation=0,
            source=SourceEntry("directory", "/pictures"),
            files={},
            listing=[layout.source(part) for part in range(len(pieces))],
            images=[layout.images(part) for part in range(len(pieces))],
            models={"tiny": ModelEntry(spec, "cpu float32", [], [])},
            spaces={space: entry},
            default_space=space,
        )
        generations.publish(storage, draft)
        return storage

    return make


@pytest.fixture
def grow_collection() -> Callable[..., None]:
    """Publish a generation with more rows in every space, as `lookalike embed` does for new images."""

    def grow(storage: Storage, vectors: npt.NDArray[Any]) -> None:
        latest = generations.require_latest(storage)
        part = len(latest.images)
        reader = CollectionReader(storage, latest)
        ids = np.arange(len(vectors), dtype=np.int64) * 3 + int(reader.ids().max()) + 3
        write_images(storage, part, ids, [None] * len(ids))
        spaces = {}
        for name, entry in latest.spaces.items():
            path = layout.embeddings(name, part)
            write_embeddings(storage, path, ids, vectors, entry.dtype)
            spaces[name] = dataclasses.replace(entry, rows=entry.rows + len(ids), parts=[*entry.parts, path])
        draft = dataclasses.replace(
            latest,
            listing=[*latest.listing, layout.source(part)],
            images=[*latest.images, layout.images(part)],
            spaces=spaces,
        )
        generations.publish(storage, draft)

    return grow


def write_images(storage: Storage, part: int, ids: npt.NDArray[np.int64], labels: Sequence[str | None]) -> None:
    keys = [f"{number:05d}.jpg" for number in ids]
    uris = [f"/pictures/{key}" for key in keys]
    count = len(keys)
    source = [ids, keys, labels, uris, [10] * count, [0] * count]
    write_part(storage, layout.source(part), table(source, schema.SOURCE))
    images = [ids, keys, labels, uris, [10] * count, ["JPEG"] * count, [64] * count, [64] * count]
    write_part(storage, layout.images(part), table(images, schema.IMAGES))


def write_embeddings(
    storage: Storage, path: str, ids: npt.NDArray[np.int64], vectors: npt.NDArray[Any], dtype: str
) -> None:
    part_schema = schema.embeddings(vectors.shape[1], dtype)
    values = pa.array(np.ascontiguousarray(vectors, dtype).ravel())
    lists = pa.FixedSizeListArray.from_arrays(values, type=part_schema.field("embedding").type)
    write_part(storage, path, pa.table([pa.array(ids), lists], schema=part_schema))


def table(columns: Sequence[Any], table_schema: pa.Schema) -> pa.Table:
    """Return a table of the first columns of a schema; the other columns are null."""
    padded = [*columns, *[[None] * len(columns[0])] * (len(table_schema) - len(columns))]
    arrays = [pa.array(column, type=field.type) for column, field in zip(padded, table_schema, strict=True)]
    return pa.table(arrays, schema=table_schema)


@pytest.fixture
def clustered() -> Callable[..., npt.NDArray[np.float32]]:
    """Return vectors around `groups` centers: shape (rows, dim); row i belongs to group i % groups."""

    def make(rows: int, dim: int, groups: int, spread: float = 0.1, seed: int = 0) -> npt.NDArray[np.float32]:
        generator = np.random.default_rng(seed)
        centers = generator.standard_normal((groups, dim))
        noise = spread * generator.standard_normal((rows, dim))
        return (centers[np.arange(rows) % groups] + noise).astype(np.float32)

    return make


@pytest.fixture
def publish_clustering() -> Callable[..., CollectionReader]:
    """Publish a clustering given as one cluster for each row; centroids are the members' means."""

    def publish(
        storage: Storage, clusters: Sequence[int], space: str = "", name: str = "made", k: int = 0
    ) -> CollectionReader:
        reader = CollectionReader.open(str(storage.root))
        space, entry = reader.space(space)
        codes = np.asarray(clusters, np.int32)
        k = k or int(codes.max()) + 1
        ids = reader.ids(space)
        vectors = reader.vectors(space, np.arange(entry.rows))
        centroids = np.full((k, entry.dim), 1e3, np.float32)  # centroids of empty clusters are far from everything
        for cluster in np.unique(codes):
            centroids[cluster] = vectors[codes == cluster].mean(axis=0)
        apart = np.linalg.norm(vectors[:, None] - centroids, axis=2).astype(np.float32)
        distances = apart[np.arange(entry.rows), codes]
        apart[np.arange(entry.rows), codes] = np.inf
        margins = apart.min(axis=1) - distances
        folder = layout.clustering(space, name, "0" * 64)
        write_centroids(storage, f"{folder}/centroids.parquet", Trained(centroids, [1.0]))
        write_assignments(
            storage, f"{folder}/assignments/part-000000.parquet", ids, AssignedVectors(codes, distances, margins)
        )
        made = ClusteringEntry(
            space=space,
            name=name,
            k=k,
            metric="l2",
            strategy="kmeans",
            seed=0,
            iterations=1,
            restarts=1,
            trained_on=entry.rows,
            inertia=[1.0],
            rows=entry.rows,
            centroids=f"{folder}/centroids.parquet",
            assignments=[f"{folder}/assignments/part-000000.parquet"],
            digest="0" * 64,
        )
        draft = dataclasses.replace(
            reader.manifest, clusterings={**reader.manifest.clusterings, f"{space}/{name}": made}
        )
        generations.publish(storage, generations.complete(storage, draft))
        return CollectionReader.open(str(storage.root))

    return publish


@pytest.fixture
def publish_predictions() -> Callable[..., CollectionReader]:
    """Publish predictions of a model given as the class names of each row, most probable first."""

    def publish(storage: Storage, names: Sequence[Sequence[str]], model: str = "tiny") -> CollectionReader:
        reader = CollectionReader.open(str(storage.root))
        classes = sorted({name for row in names for name in row})
        top = len(names[0])
        types = schema.predictions(top)
        probability = np.tile(np.linspace(0.9, 0.1, top) / top, len(names)).astype(np.float32)
        flat = [
            pa.array([classes.index(name) for row in names for name in row], pa.int32()),
            pa.array([name for row in names for name in row], pa.string()),
            pa.array(probability),
        ]
        lists = [
            pa.FixedSizeListArray.from_arrays(column, type=types.field(place).type)
            for place, column in enumerate(flat, 1)
        ]
        path = layout.predictions(model, 0)
        write_part(storage, path, pa.table([pa.array(reader.images(["id"]).column("id").to_numpy()), *lists], types))
        entry = dataclasses.replace(reader.manifest.models[model], predictions=[path])
        draft = dataclasses.replace(reader.manifest, models={**reader.manifest.models, model: entry})
        generations.publish(storage, generations.complete(storage, draft))
        return CollectionReader.open(str(storage.root))

    return publish


@pytest.fixture
def publish_model() -> Callable[..., None]:
    """Publish a model of ImageNet's 1,000 classes, with given class indexes for each image."""

    def publish(
        storage: Storage,
        name: str,
        top: Sequence[Sequence[int]],
        weights: WeightsSpec | None = None,
        like: str = "tiny",
    ) -> None:
        manifest = generations.require_latest(storage)
        path = layout.predictions(name, 0)
        shares = [[0.5 / (place + 1) for place in range(len(row))] for row in top]
        names = [[f"class {index}" for index in row] for row in top]
        ids = CollectionReader.open(str(storage.root)).images(["id"]).column("id").to_numpy()
        write_part(storage, path, table([ids, top, names, shares], schema.predictions(len(top[0]))))
        tiny = manifest.models[like]
        # Only published heads with 1,000 classes have ImageNet's names.
        spec = dataclasses.replace(tiny.spec, weights=weights or WeightsSpec("imagenet", "x", "1" * 64))
        models = {**manifest.models, name: dataclasses.replace(tiny, spec=spec, predictions=[path])}
        generations.publish(storage, dataclasses.replace(manifest, models=models))

    return publish


@pytest.fixture
def publish_space() -> Callable[..., None]:
    """Publish another space of the model "tiny", in one part, with the given ids."""

    def publish(storage: Storage, name: str, ids: npt.NDArray[np.int64], vectors: npt.NDArray[Any]) -> None:
        manifest = generations.require_latest(storage)
        path = layout.embeddings(name, 0)
        write_embeddings(storage, path, ids, vectors, "float32")
        tiny = next(iter(manifest.spaces.values()))
        entry = dataclasses.replace(tiny, rows=len(ids), dim=vectors.shape[1], parts=[path], dtype="float32")
        generations.publish(storage, dataclasses.replace(manifest, spaces={**manifest.spaces, name: entry}))

    return publish
