"""Fuzz the reader of Parquet parts: bytes are a table with the right columns, or one of our errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from tests.fuzz.targets.folders import own_folder
from tests.fuzz.targets.toys import toy

from lookalike_indexer.collection import schema
from lookalike_indexer.collection.parts import read_part, read_rows
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError

_ROOT = own_folder("part")
_STORAGE = Storage(_ROOT)
_READER = CollectionReader.open(str(toy()))


def target(data: bytes) -> None:
    (_ROOT / "part.parquet").write_bytes(data)
    for read in (_ids, _embeddings, _images, _rows):
        try:
            read()
        except IndexerError:
            continue


def _ids() -> None:
    read_part(_STORAGE, "part.parquet", ["id"])


def _embeddings() -> None:
    reader = CollectionReader(_STORAGE, _READER.manifest)
    for ids, vectors in reader.stream_part("part.parquet", 16):
        assert vectors.dtype == np.float32
        assert len(ids) == len(vectors)


def _images() -> None:
    table = read_part(_STORAGE, "part.parquet")
    if table.schema.equals(schema.IMAGES):
        assert all(isinstance(key, str) for key in table.column("key").to_pylist())


def _rows() -> None:
    assert isinstance(read_rows(_STORAGE, "part.parquet", 3, 9), pa.Table)


def seeds() -> Iterator[bytes]:
    root = toy()
    for path in sorted(root.rglob("*.parquet")):
        if path.parent.parent.name in ("embeddings", "clusterings", "toys") and path.name.startswith("part-000000"):
            yield path.read_bytes()
    yield b"PAR1PAR1"
