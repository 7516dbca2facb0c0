"""Collections of synthetic vectors, written as an embedding run writes them: part by part, never held whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_benchmarks.vectors import Clustered, Float32
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import FORMAT, Manifest, ModelEntry, SourceEntry, SpaceEntry
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage

SPACE = "synthetic"
# As `lookalike embed` writes them by default.
PART_ROWS = 1024
_PREPROCESSING = PreprocessingSpec(232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)
_MODEL = ModelSpec("resnet152", 1000, WeightsSpec("untrained", "0", "0" * 64), _PREPROCESSING)
_SPEC = SpaceSpec(_MODEL, "flatten", "avg")


@dataclass(frozen=True)
class Written:
    """A published collection: seconds of writing the parts, without making their vectors, and of publishing them."""

    write_seconds: float
    publish_seconds: float
    bytes: int


def write_collection(root: str, vectors: Clustered) -> Written:
    """Stream vectors into a new collection and publish it."""
    storage = Storage(root)
    seconds, parts = 0.0, 0
    for start, block in _parts(vectors):
        began = time.perf_counter()
        write_part(storage, layout.images(parts), images_table(start, len(block)))
        write_part(storage, layout.embeddings(SPACE, parts), embeddings_table(start, block))
        seconds += time.perf_counter() - began
        parts += 1
    began = time.perf_counter()
    manifest = generations.publish(storage, _manifest(vectors, parts))
    published = time.perf_counter() - began
    return Written(seconds, published, sum(file.bytes for file in manifest.files.values()))


def images_table(start: int, rows: int) -> pa.Table:
    """The images `start` to `start + rows`, with keys, labels and URIs of usual lengths."""
    numbers = range(start, start + rows)
    keys = [f"folder-{number // 500:05d}/picture-{number:08d}.jpg" for number in numbers]
    columns = {
        "id": pa.array(numbers, pa.int64()),
        "key": keys,
        "label": [f"label {number % 1000}" for number in numbers],
        "uri": [f"/mnt/pictures/{key}" for key in keys],
        "bytes": pa.array(np.full(rows, 50_000)),
        "format": ["JPEG"] * rows,
        "width": pa.array(np.full(rows, 500, np.int32)),
        "height": pa.array(np.full(rows, 375, np.int32)),
    }
    return pa.table(columns, schema.IMAGES)


def embeddings_table(start: int, vectors: Float32) -> pa.Table:
    """The part of a space that holds these vectors, float32."""
    kind = schema.embeddings(vectors.shape[1], "float32")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=kind.field("embedding").type)
    return pa.table([pa.array(np.arange(start, start + len(vectors))), lists], kind)


def _parts(vectors: Clustered) -> Iterator[tuple[int, Float32]]:
    start = 0
    for block in vectors.blocks():
        for first in range(0, len(block), PART_ROWS):
            part = block[first : first + PART_ROWS]
            yield start, part
            start += len(part)


def _manifest(vectors: Clustered, parts: int) -> Manifest:
    space = SpaceEntry(
        model=SPACE,
        layer=_SPEC.layer,
        pooling=_SPEC.pooling,
        dim=vectors.dim,
        dtype="float32",
        fingerprint=_SPEC.fingerprint,
        rows=vectors.rows,
        parts=[layout.embeddings(SPACE, number) for number in range(parts)],
    )
    return Manifest(
        format=FORMAT,
        generation=0,
        source=SourceEntry("directory", "/mnt/pictures"),
        files={},
        listing=[],
        images=[layout.images(number) for number in range(parts)],
        models={SPACE: ModelEntry(_MODEL, "float32", predictions=[], rejects=[])},
        spaces={SPACE: space},
        default_space=SPACE,
    )
