"""A collection of synthetic vectors on the disk, written part by part as the indexer writes its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from lookalike_benchmarks.vectors import Float32
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import FORMAT, Manifest, ModelEntry, SourceEntry, SpaceEntry
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.spec import ModelSpec, PreprocessingSpec, SpaceSpec, WeightsSpec
from lookalike_indexer.collection.storage import Storage

SPACE = "synthetic"
# A block of the generator.
PART_ROWS = 4096
# Of no network: these vectors come from no picture.
_MODEL = ModelSpec(
    "resnet50",
    1000,
    WeightsSpec("untrained", "0", "0" * 64),
    PreprocessingSpec(232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", True),
)


class Blocks(Protocol):
    """Vectors of `dim`, part by part, such as `Clustered`."""

    @property
    def dim(self) -> int: ...

    def blocks(self) -> Iterator[Float32]: ...


@dataclass(frozen=True)
class Given:
    """Vectors (n, dim) that are in memory."""

    vectors: Float32

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def blocks(self) -> Iterator[Float32]:
        for start in range(0, len(self.vectors), PART_ROWS):
            yield self.vectors[start : start + PART_ROWS]


def write_collection(root: str, vectors: Blocks, model: ModelEntry | None = None, layer: str = "flatten") -> None:
    """Write the images and embeddings of all vectors and publish them as generation 1, without index or clustering.

    Ids are row numbers. `model` is the network whose `layer` they are said to
    come from, when a server is to embed pictures with it.
    """
    storage, model = Storage(root), model or ModelEntry(_MODEL, "cpu float32", [], [])
    first, parts = 0, 0
    for block in vectors.blocks():
        write_part(storage, layout.images(parts), images_table(first, len(block)))
        write_part(storage, layout.embeddings(SPACE, parts), embeddings_table(first, block))
        first, parts = first + len(block), parts + 1
    space = SpaceEntry(
        model=SPACE,
        layer=layer,
        pooling="avg",
        dim=vectors.dim,
        dtype="float32",
        fingerprint=SpaceSpec(model.spec, layer, "avg").fingerprint,
        rows=first,
        parts=[layout.embeddings(SPACE, part) for part in range(parts)],
    )
    draft = Manifest(
        format=FORMAT,
        generation=0,
        source=SourceEntry("directory", str(storage.root.absolute())),
        files={},
        listing=[],
        images=[layout.images(part) for part in range(parts)],
        models={SPACE: model},
        spaces={SPACE: space},
        default_space=SPACE,
    )
    generations.publish(storage, draft)


def key(row: int) -> str:
    """The key of a row's image, as long as real ones are."""
    return f"synthetic/{row // 1000:05d}/image-{row:08d}.jpg"


def images_table(first: int, count: int) -> pa.Table:
    """The images of `count` rows from `first` on."""
    rows = range(first, first + count)
    keys = [key(row) for row in rows]
    columns: list[list[Any]] = [
        list(rows),
        keys,
        [f"label-{row % 100:02d}" for row in rows],
        keys,
        [0] * count,
        ["JPEG"] * count,
        [500] * count,
        [375] * count,
    ]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema.IMAGES, strict=True)]
    return pa.table(arrays, schema=schema.IMAGES)


def embeddings_table(first: int, vectors: Float32) -> pa.Table:
    """The embeddings (n, dim) of the rows from `first` on."""
    embeddings = schema.embeddings(vectors.shape[1], "float32")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=embeddings.field("embedding").type)
    return pa.table([pa.array(np.arange(first, first + len(vectors))), lists], schema=embeddings)
