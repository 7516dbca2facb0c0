"""Collections of synthetic vectors, written part by part as in an embedding run, never all in memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import FORMAT, Manifest, ModelEntry, SourceEntry, SpaceEntry
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage

SPACE = "synthetic"
# The default of `lookalike embed`.
PART_ROWS = 1024
_PREPROCESSING = PreprocessingSpec(232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True)
# Stands for no network: these vectors do not come from images.
_MODEL = ModelEntry(
    ModelSpec("resnet152", 1000, WeightsSpec("untrained", "0", "0" * 64), _PREPROCESSING), "cpu float32", [], []
)
_PICTURES = Path("/mnt/pictures")


class Blocks(Protocol):
    """Vectors of `dim`, block by block, such as `Clustered`."""

    @property
    def dim(self) -> int: ...

    def blocks(self) -> Iterator[Float32]: ...


@dataclass(frozen=True)
class Given:
    """Vectors (n, dim) in memory."""

    vectors: Float32

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def blocks(self) -> Iterator[Float32]:
        yield self.vectors


@dataclass(frozen=True)
class Written:
    """A published collection: seconds of writing the parts, without generating vectors, and of publishing them."""

    write_seconds: float
    publish_seconds: float
    bytes: int


def write_collection(
    root: str, vectors: Blocks, model: ModelEntry = _MODEL, layer: str = "flatten", pictures: Path = _PICTURES
) -> Written:
    """Stream vectors into a new collection and publish it, without index or clustering; ids are row numbers.

    `model` is the network that the manifest names, with its `layer`, so that a server can
    embed images with it. `pictures` is the folder of the images' URIs.
    """
    storage = Storage(root)
    seconds, rows, parts = 0.0, 0, 0
    for block in _parts(vectors):
        began = time.perf_counter()
        write_part(storage, layout.images(parts), images_table(rows, len(block), pictures))
        write_part(storage, layout.embeddings(SPACE, parts), embeddings_table(rows, block))
        seconds += time.perf_counter() - began
        rows, parts = rows + len(block), parts + 1
    space = SpaceEntry(
        model=SPACE,
        layer=layer,
        pooling="avg",
        dim=vectors.dim,
        dtype="float32",
        fingerprint=SpaceSpec(model.spec, layer, "avg").fingerprint,
        rows=rows,
        parts=[layout.embeddings(SPACE, number) for number in range(parts)],
    )
    draft = Manifest(
        format=FORMAT,
        generation=0,
        source=SourceEntry("directory", str(pictures)),
        files={},
        listing=[],
        images=[layout.images(number) for number in range(parts)],
        models={SPACE: model},
        spaces={SPACE: space},
        default_space=SPACE,
    )
    began = time.perf_counter()
    manifest = generations.publish(storage, draft)
    published = time.perf_counter() - began
    return Written(seconds, published, sum(file.bytes for file in manifest.files.values()))


def key(row: int) -> str:
    """Return the key of a row's image, as long as real keys are."""
    return f"folder-{row // 500:05d}/picture-{row:08d}.jpg"


def images_table(start: int, rows: int, pictures: Path = _PICTURES) -> pa.Table:
    """Return the images `start` to `start + rows`, with keys, labels and URIs of typical lengths."""
    numbers = range(start, start + rows)
    keys = [key(number) for number in numbers]
    columns = {
        "id": pa.array(numbers, pa.int64()),
        "key": keys,
        "label": [f"label {number % 1000}" for number in numbers],
        "uri": [str(pictures / name) for name in keys],
        "bytes": pa.array(np.full(rows, 50_000)),
        "format": ["JPEG"] * rows,
        "width": pa.array(np.full(rows, 500, np.int32)),
        "height": pa.array(np.full(rows, 375, np.int32)),
        "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in keys],
    }
    return pa.table(columns, schema.IMAGES)


def embeddings_table(start: int, vectors: Float32) -> pa.Table:
    """Return the part of a space with these vectors, float32."""
    kind = schema.embeddings(vectors.shape[1], "float32")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=kind.field("embedding").type)
    return pa.table([pa.array(np.arange(start, start + len(vectors))), lists], kind)


def _parts(vectors: Blocks) -> Iterator[Float32]:
    for block in vectors.blocks():
        for first in range(0, len(block), PART_ROWS):
            yield block[first : first + PART_ROWS]
