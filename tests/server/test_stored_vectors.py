from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection import schema
from lookalike_indexer.collection.manifest import FileEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError
from lookalike_server.columns import stored_vectors
from lookalike_server.columns.stored_vectors import StoredVectors

DIM = 2048


def values(rows: int) -> np.ndarray:
    """Return vectors wide enough for a row group of two pages, as real embeddings are."""
    return np.random.default_rng(1).standard_normal((rows, DIM)).astype(np.float32)


@pytest.fixture
def wide(make_toy) -> Any:
    """Two parts, the first of two row groups."""
    return make_toy(values(400), part_rows=300, index=None)


@pytest.fixture
def no_decoding(monkeypatch) -> Any:
    def forbid() -> None:
        def refuse(*_: Any) -> None:
            raise AssertionError("a row group was decoded again")

        monkeypatch.setattr(stored_vectors, "open_part", refuse)

    return forbid


def stored_in(toy: Any, dtype: str, **how: Any) -> CollectionReader:
    """The collection with its embeddings in one file of another kind."""
    form = schema.embeddings(DIM, dtype)
    lists = pa.FixedSizeListArray.from_arrays(
        pa.array(toy.vectors.astype(dtype).ravel()), type=form.field("embedding").type
    )
    table = pa.table([pa.array(toy.ids), lists], schema=form)
    pq.write_table(table, toy.root / "other.parquet", **{**schema.writer_options(form), **how})
    manifest = CollectionReader.open(str(toy.root)).manifest
    space = dataclasses.replace(manifest.spaces["tiny"], dtype=dtype, parts=["other.parquet"])
    files = {"other.parquet": FileEntry(0, "", rows=len(toy.ids))}
    return CollectionReader(toy.storage, dataclasses.replace(manifest, spaces={"tiny": space}, files=files))


def damage(path: Path, vector: np.ndarray) -> None:
    data = path.read_bytes()
    at = data.index(vector.tobytes()) + 100
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_vectors_keep_the_requested_order_and_decode_a_row_group_once(wide, no_decoding) -> None:
    stored = StoredVectors(CollectionReader.open(str(wide.root)), "tiny")
    rows = np.random.default_rng(2).integers(0, 400, 500)
    np.testing.assert_array_equal(stored.read(rows), wide.vectors[rows])
    no_decoding()
    np.testing.assert_array_equal(stored.read(rows[::-1]), wide.vectors[rows[::-1]])
    everything = np.arange(400)
    np.testing.assert_array_equal(stored.read(everything), wide.vectors, "also the rows beside those asked for")
    assert stored.read(everything[:0]).shape == (0, DIM)


def test_float16_is_read_as_the_float32_it_stands_for(wide, no_decoding) -> None:
    stored = StoredVectors(stored_in(wide, "float16"), "tiny")
    expected = wide.vectors.astype(np.float16).astype(np.float32)
    rows = np.array([399, 0, 256, 255, 0])
    np.testing.assert_array_equal(stored.read(rows), expected[rows])
    no_decoding()
    np.testing.assert_array_equal(stored.read(rows), expected[rows])
    assert stored.read(rows).dtype == np.float32


def test_compressed_vectors_are_decoded_on_each_read(wide) -> None:
    stored = StoredVectors(stored_in(wide, "float32", compression="zstd"), "tiny")
    rows = np.array([7, 300])
    for _ in range(2):
        np.testing.assert_array_equal(stored.read(rows), wide.vectors[rows])


def test_flipped_bit_is_data_loss_only_for_its_row(wide) -> None:
    reader = CollectionReader.open(str(wide.root))
    stored = StoredVectors(reader, "tiny")
    rows = np.arange(400)
    stored.read(rows)
    part = wide.root / reader.manifest.spaces["tiny"].parts[0]
    damage(part, wide.vectors[10])
    for _ in range(2):
        with pytest.raises(DataLossError, match="cannot be read as Parquet"):
            stored.read(rows[[200, 10]])
    np.testing.assert_array_equal(stored.read(rows[[9, 11, 270]]), wide.vectors[[9, 11, 270]])
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(DataLossError):
        stored.read(rows[[9]])
    part.unlink()
    with pytest.raises(DataLossError, match="No such file"):
        stored.read(rows[[9]])
