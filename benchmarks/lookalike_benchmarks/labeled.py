"""A collection with labels, clusters and predictions that mostly agree, for experiments; streamed to disk.

Each class is a Gaussian around its own center on the unit sphere. Each cluster has the
center of one class as its centroid, so that classes beyond the number of clusters share
some. Two models predict the correct class most of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_benchmarks.synthetic import embeddings_table, images_table
from lookalike_indexer.arrays import Float32, Int64
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
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage

# Both networks were never run; their classes have the names of the labels: "class 0", "class 1" and so on.
_PREPROCESSING = PreprocessingSpec(232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)
MODELS = {"first": 0.85, "second": 0.6}
CLUSTERING = "first/made"
_CLASSES = 1000
_TOP = 5
_PART_ROWS = 1 << 16


@dataclass(frozen=True)
class Labeled:
    """Size of the collection: `rows` images of `classes` labels, embeddings of `dim`, `clusters` clusters.

    `spread` is the length of the noise around a class's center.
    """

    rows: int
    dim: int = 64
    classes: int = 1000
    clusters: int = 800
    spread: float = 0.8
    seed: int = 1


def write_labeled(root: str, wanted: Labeled) -> None:
    """Write and publish the collection."""
    storage = Storage(root)
    centers = _unit(np.random.default_rng(wanted.seed).standard_normal((wanted.classes, wanted.dim), np.float32))
    folder = layout.clustering("first", "made", "0" * 16)
    numbers = range(-(-wanted.rows // _PART_ROWS))
    for number in numbers:
        start = number * _PART_ROWS
        count = min(_PART_ROWS, wanted.rows - start)
        random = np.random.default_rng((wanted.seed, number))
        labels = random.integers(0, wanted.classes, count)
        noise = random.standard_normal((count, wanted.dim), np.float32) * np.float32(wanted.spread / wanted.dim**0.5)
        vectors = _unit(centers[labels] + noise)
        names = pa.array([f"class {code}" for code in range(wanted.classes)]).take(pa.array(labels))
        images = images_table(start, count)
        images = images.set_column(images.schema.get_field_index("label"), schema.IMAGES.field("label"), names)
        write_part(storage, layout.images(number), images)
        write_part(storage, layout.embeddings("first", number), embeddings_table(start, vectors))
        assigned = _assignments(start, vectors, centers[: wanted.clusters])
        write_part(storage, f"{folder}/assignments/part-{number:06d}.parquet", assigned)
        for model, share in MODELS.items():
            write_part(storage, layout.predictions(model, number), _predictions(start, labels, share, random))
    centroids = pa.FixedSizeListArray.from_arrays(
        pa.array(centers[: wanted.clusters].ravel()), type=schema.centroids(wanted.dim).field("centroid").type
    )
    table = pa.table([pa.array(np.arange(wanted.clusters, dtype=np.int32)), centroids], schema.centroids(wanted.dim))
    write_part(storage, f"{folder}/centroids.parquet", table)
    generations.publish(storage, _manifest(wanted, numbers, folder))


def _manifest(wanted: Labeled, numbers: Sequence[int], folder: str) -> Manifest:
    models = {
        model: ModelEntry(
            ModelSpec("resnet50", _CLASSES, WeightsSpec("untrained", str(seed), f"{seed}" * 64), _PREPROCESSING),
            "cpu float32",
            [layout.predictions(model, number) for number in numbers],
            [],
        )
        for seed, model in enumerate(MODELS)
    }
    space = SpaceEntry(
        model="first",
        layer="flatten",
        pooling="avg",
        dim=wanted.dim,
        dtype="float32",
        fingerprint=SpaceSpec(models["first"].spec, "flatten", "avg").fingerprint,
        rows=wanted.rows,
        parts=[layout.embeddings("first", number) for number in numbers],
    )
    clustering = ClusteringEntry(
        space="first",
        name="made",
        k=wanted.clusters,
        metric="cosine",
        strategy="kmeans",
        seed=wanted.seed,
        iterations=1,
        restarts=1,
        trained_on=wanted.rows,
        inertia=[1.0],
        rows=wanted.rows,
        centroids=f"{folder}/centroids.parquet",
        assignments=[f"{folder}/assignments/part-{number:06d}.parquet" for number in numbers],
        digest="0" * 64,
    )
    return Manifest(
        format=FORMAT,
        generation=0,
        source=SourceEntry("directory", "/mnt/pictures"),
        files={},
        listing=[],
        images=[layout.images(number) for number in numbers],
        models=models,
        spaces={"first": space},
        clusterings={CLUSTERING: clustering},
        default_space="first",
    )


def _assignments(start: int, vectors: Float32, centroids: Float32) -> pa.Table:
    """Return the nearest centroid of each vector, its distance, and the margin to the next one."""
    clusters = np.empty(len(vectors), np.int32)
    two = np.empty((len(vectors), 2), np.float32)
    for first in range(0, len(vectors), 4096):
        similar = vectors[first : first + 4096] @ centroids.T
        best = np.argpartition(similar, -2, axis=1)[:, -2:]
        pair = np.take_along_axis(similar, best, axis=1)
        order = np.argsort(-pair, axis=1)
        clusters[first : first + 4096] = np.take_along_axis(best, order, axis=1)[:, 0]
        # Distances of unit vectors from their products.
        two[first : first + 4096] = np.sqrt(np.maximum(0, 2 - 2 * np.take_along_axis(pair, order, axis=1)))
    ids = np.arange(start, start + len(vectors))
    return pa.table([pa.array(ids), clusters, two[:, 0], two[:, 1] - two[:, 0]], schema.ASSIGNMENTS)


def _predictions(start: int, labels: Int64, share: float, random: np.random.Generator) -> pa.Table:
    """Return five different classes for each row; the label is first in `share` of the rows, third in half the rest."""
    count = len(labels)
    classes = (labels[:, None] + random.integers(1, _CLASSES // 8, count)[:, None] * np.arange(1, _TOP + 1)) % _CLASSES
    drawn = random.random(count)
    place = np.where(drawn < share, 0, np.where(drawn < (1 + share) / 2, 2, _TOP))
    found = np.flatnonzero(place < _TOP)
    classes[found, place[found]] = labels[found]
    probabilities = np.sort(random.random((count, _TOP)).astype(np.float32) / _TOP, axis=1)[:, ::-1]
    kind = schema.predictions(_TOP)
    names = pa.array([f"class {code}" for code in range(_CLASSES)]).take(pa.array(classes.ravel()))
    flat = (pa.array(classes.ravel().astype(np.int32)), names, pa.array(np.ascontiguousarray(probabilities).ravel()))
    lists = [
        pa.FixedSizeListArray.from_arrays(values, type=field.type)
        for values, field in zip(flat, list(kind)[1:], strict=True)
    ]
    return pa.table([pa.array(np.arange(start, start + count)), *lists], kind)


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
