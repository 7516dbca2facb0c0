from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from lookalike_indexer.collection import generations, schema
from lookalike_indexer.collection.manifest import ClusteringEntry
from lookalike_indexer.collection.parts import open_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError, NotBuiltError, NotFoundError, UsageError

PARTS = [700, 0, 1, 300, 299]
ROWS = sum(PARTS)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)


@pytest.fixture
def reader(make_collection, vectors):
    return CollectionReader.open(str(make_collection(vectors, part_rows=PARTS).root))


@pytest.mark.parametrize("rows", [1, 3, 100, 256, 700, 4096])
def test_streaming_yields_all_rows_in_order_in_bounded_blocks(reader, vectors, rows):
    blocks = list(reader.stream("tiny", rows=rows))
    assert max(len(ids) for ids, _ in blocks) <= rows
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for _, block in blocks)
    assert all(ids.dtype == np.int64 for ids, _ in blocks)
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), vectors)
    np.testing.assert_array_equal(np.concatenate([ids for ids, _ in blocks]), np.arange(ROWS) * 3 + 1)


def test_one_part_can_be_streamed(reader, vectors):
    _, entry = reader.space()
    lengths = [sum(len(ids) for ids, _ in reader.stream_part(path)) for path in entry.parts]
    assert lengths == PARTS
    (ids, block) = next(iter(reader.stream_part(entry.parts[3])))
    np.testing.assert_array_equal(block, vectors[701:1001])
    assert ids[0] == 701 * 3 + 1


def test_float16_is_read_as_float32(make_collection, vectors):
    reader = CollectionReader.open(str(make_collection(vectors, dtype="float16").root))
    stored = vectors.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate([block for _, block in reader.stream()]), stored)
    some = np.array([5, 3, 1299])
    np.testing.assert_array_equal(reader.vectors("tiny", some), stored[some])


@pytest.mark.parametrize("seed", range(5))
def test_single_rows_are_read_in_the_order_requested(reader, vectors, seed):
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, ROWS, 200)
    np.testing.assert_array_equal(reader.vectors("tiny", rows), vectors[rows])


def test_edges_of_parts_and_row_groups(reader, vectors):
    rows = np.array([1299, 0, 255, 256, 511, 512, 699, 700, 701, 1000, 1001, 0, 0])
    np.testing.assert_array_equal(reader.vectors("tiny", rows), vectors[rows])
    assert reader.vectors("tiny", np.empty(0, np.int64)).shape == (0, 6)


def test_only_the_row_group_of_a_row_is_read(reader, monkeypatch):
    groups = []
    with open_part(reader.storage, "embeddings/tiny/part-000000.parquet") as part:
        assert part.num_row_groups == 3
        original = type(part).read_row_groups

    def recording(self, wanted, **options):
        groups.append(list(wanted))
        return original(self, wanted, **options)

    monkeypatch.setattr("pyarrow.parquet.ParquetFile.read_row_groups", recording)
    reader.vectors("tiny", np.array([300, 301]))
    assert groups == [[1]]


@pytest.mark.parametrize("row", [-1, ROWS])
def test_missing_rows_are_rejected(reader, row):
    with pytest.raises(UsageError, match=f"The space tiny has rows 0 to {ROWS - 1}"):
        reader.vectors("tiny", np.array([0, row]))


def test_ids_and_images(reader):
    np.testing.assert_array_equal(reader.ids(), np.arange(ROWS) * 3 + 1)
    images = reader.images(["id", "key"])
    assert images.column_names == ["id", "key"]
    assert images.num_rows == ROWS
    assert images.column("key")[1].as_py() == "00004.jpg"


def test_collection_without_any_part(make_collection):
    reader = CollectionReader.open(str(make_collection(np.empty((0, 6), np.float32), part_rows=[]).root))
    assert list(reader.stream()) == []
    assert reader.ids().shape == (0,)
    assert reader.images().num_rows == 0
    assert reader.images(["key"]).column_names == ["key"]
    assert reader.rejects("tiny").schema == schema.REJECTS
    assert reader.vectors("tiny", np.empty(0, np.int64)).shape == (0, 6)


def test_space_whose_every_part_is_empty(make_collection):
    reader = CollectionReader.open(str(make_collection(np.empty((0, 6), np.float32), part_rows=[0, 0]).root))
    assert sum(len(ids) for ids, _ in reader.stream()) == 0
    assert reader.ids().shape == (0,)


def with_clustering(reader, vectors):
    """Return the reader of a manifest with a clustering of two parts."""
    storage = reader.storage
    centroid = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors[:2].ravel()), type=schema.centroids(6).field("centroid").type
    )
    table = pa.table([pa.array([0, 1], pa.int32()), centroid], schema=schema.centroids(6))
    write_part(storage, "clusterings/tiny/k2/d/centroids.parquet", table)
    parts = []
    for part, ids in enumerate(([1, 4], [7])):
        parts.append(f"clusterings/tiny/k2/d/assignments/part-{part:06d}.parquet")
        columns = [
            pa.array(ids),
            pa.array([part] * len(ids), pa.int32()),
            *[pa.array([0.5] * len(ids), pa.float32())] * 2,
        ]
        write_part(storage, parts[-1], pa.table(columns, schema=schema.ASSIGNMENTS))
    entry = ClusteringEntry(
        "tiny", "k2", 2, "l2", "kmeans", 1, 1, 1, 3, [1.0], 3, "clusterings/tiny/k2/d/centroids.parquet", parts, "d"
    )
    return CollectionReader(storage, dataclasses.replace(reader.manifest, clusterings={"tiny/k2": entry}))


def test_centroids_and_assignments(reader, vectors):
    found = with_clustering(reader, vectors)
    np.testing.assert_array_equal(found.centroids("tiny/k2"), vectors[:2])
    assigned = found.assignments("tiny/k2")
    assert assigned.ids.tolist() == [1, 4, 7]
    assert assigned.clusters.tolist() == [0, 0, 1]
    assert assigned.clusters.dtype == np.int32
    assert assigned.margins.dtype == np.float32


def test_missing_name_is_reported_with_the_available_names(reader, vectors):
    with pytest.raises(NotFoundError, match="no space 'big'; it has: tiny"):
        reader.space("big")
    with pytest.raises(NotFoundError, match="no clustering 'tiny/k3'; it has: none"):
        reader.clustering("tiny/k3")
    with pytest.raises(NotFoundError, match="it has: tiny/k2"):
        with_clustering(reader, vectors).clustering("k9")
    with pytest.raises(NotBuiltError, match="The space tiny has no index; build one with: lookalike build"):
        reader.index()


def test_reader_keeps_its_generation(reader, vectors):
    storage = reader.storage
    generations.publish(storage, dataclasses.replace(reader.manifest, default_space="gone"))
    assert reader.space()[0] == "tiny"
    assert CollectionReader.open(str(storage.root), generation=1).space()[0] == "tiny"
    with pytest.raises(NotFoundError):
        CollectionReader.open(str(storage.root)).space()


def test_changed_file_is_noticed(reader):
    path = "embeddings/tiny/part-000003.parquet"
    reader.verify(path)
    local = reader.storage.local(path)
    data = bytearray(local.read_bytes())
    data[100] ^= 1
    local.write_bytes(data)
    with pytest.raises(DataLossError, match=r"part-000003\.parquet is not what was written"):
        reader.verify(path)


@pytest.mark.parametrize("data", [b"", b"not parquet at all", None])
def test_part_that_cannot_be_read_is_a_loss_of_data(reader, data):
    local = reader.storage.local("embeddings/tiny/part-000000.parquet")
    local.unlink() if data is None else local.write_bytes(data)
    with pytest.raises(DataLossError, match="cannot be read as Parquet"):
        list(reader.stream())
