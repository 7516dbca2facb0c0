"""`lookalike import`: vectors become a space that can be searched, with or without images."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pyarrow import feather

from lookalike_indexer.cli.export import export
from lookalike_indexer.cli.graph import graph
from lookalike_indexer.cli.import_vectors import import_vectors
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.stored_network import stored_module
from lookalike_indexer.errors import WeightsError
from lookalike_indexer.imported import import_stage
from lookalike_indexer.imported.vectors import input_vectors
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.progress import Silent
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)


@pytest.fixture
def files(tmp_path, vectors):
    """`vectors.npy` with `keys.csv`, nine rows."""
    np.save(tmp_path / "vectors.npy", vectors)
    lines = [f"shop/{row}.jpg,{'cat' if row % 2 else ''}" for row in range(9)]
    (tmp_path / "keys.csv").write_text("\n".join(["key,label", *lines]))
    return tmp_path


def run(*arguments, code=0):
    result = CliRunner().invoke(import_vectors, [*map(str, arguments), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else " ".join(result.output.split())


def test_vectors_without_images_become_a_collection(files, vectors, monkeypatch):
    monkeypatch.setattr(import_stage, "_PART", 4)
    root = files / "made"
    told = run(files / "vectors.npy", "--keys", files / "keys.csv", "--space", "mine", "--metric", "l2",
               "--collection", root)  # fmt: skip
    assert told == {
        "space": "mine", "images": 9, "dim": 5, "without": 0, "unmatched": 0, "rejected": 0, "index": "Flat",
        "metric": "l2", "generation": 1,
    }  # fmt: skip
    reader = CollectionReader.open(str(root))
    assert [reader.manifest.files[path].rows for path in reader.space("mine")[1].parts] == [4, 4, 1]
    assert np.array_equal(reader.vectors("", np.arange(9)), vectors)
    images = reader.images(["key", "label", "uri"])
    assert images.column("key").to_pylist()[8] == "shop/8.jpg"
    assert images.column("label").to_pylist()[:2] == [None, "cat"]
    assert set(images.column("uri").to_pylist()) == {""}
    _, rows = read_index(reader, reader.index()).search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(9))
    report = run_verify(Storage(root), VerifySettings(), Silent())
    assert report.damages == []
    assert "The vectors of mine were imported" in report.checks[-1].note
    assert CliRunner().invoke(graph, [str(root), "-k", "2"]).exit_code == 0


def test_images_are_rejected_with_a_sentence(files):
    run(files / "vectors.npy", "--keys", files / "keys.csv", "--space", "mine", "--collection", files / "made")
    with pytest.raises(WeightsError, match="no network can embed images for them; search with vectors, keys or ids"):
        stored_module(CollectionReader.open(str(files / "made")), "mine")


def test_vectors_join_the_images_of_a_collection_by_key(make_collection, tmp_path, vectors):
    storage = make_collection(np.eye(7, dtype=np.float32), part_rows=3)
    order = [5, 0, 3, 6]
    keys = [f"{3 * row + 1:05d}.jpg" for row in order]
    lists = pa.array(vectors[order].tolist(), pa.list_(pa.float64()))
    pq.write_table(pa.table({"key": keys, "vector": lists}), tmp_path / "some.parquet")
    told = run(tmp_path / "some.parquet", "--space", "mine", "--collection", storage.root)
    assert (told["images"], told["without"], told["generation"]) == (4, 3, 2)
    reader = CollectionReader.open(str(storage.root))
    # By the usual rule, since the other space's network is untrained.
    assert reader.manifest.default_space == "mine"
    assert reader.ids("mine").tolist() == [1, 10, 16, 19]
    assert np.array_equal(reader.vectors("mine", np.arange(4)), vectors[[0, 3, 5, 6]])
    assert run_verify(storage, VerifySettings(images=0), Silent()).damages == []
    assert not list(storage.root.glob(".tmp*"))


def test_removed_space_can_be_imported_again_and_older_generations_stay(make_collection, tmp_path, vectors):
    storage = make_collection(np.eye(9, dtype=np.float32))
    (tmp_path / "keys.txt").write_text("\n".join(f"{3 * row + 1:05d}.jpg" for row in range(9)))
    for times in (1, 2):
        np.save(tmp_path / "v.npy", times * vectors)
        run(tmp_path / "v.npy", "--keys", tmp_path / "keys.txt", "--space", "mine", "--collection", storage.root)
        if times == 1:
            assert CliRunner().invoke(remove, [str(storage.root), "--model", "mine"]).exit_code == 0
    first, last = (CollectionReader.open(str(storage.root), number) for number in (2, 4))
    assert np.array_equal(first.vectors("mine", np.arange(9)), vectors)
    assert np.array_equal(last.vectors("mine", np.arange(9)), 2 * vectors)


def test_export_can_be_imported(make_collection, tmp_path, vectors):
    storage = make_collection(vectors, labels=[*"aabbccdde"])
    for name in ("out.npy", "out.parquet"):
        assert CliRunner().invoke(export, [str(storage.root), str(tmp_path / name)]).exit_code == 0
        keys = ["--keys", tmp_path / "out.keys.csv"] if name == "out.npy" else []
        run(tmp_path / name, *keys, "--space", "back", "--collection", tmp_path / f"{name}-made")
        reader = CollectionReader.open(str(tmp_path / f"{name}-made"))
        assert np.array_equal(reader.vectors("back", np.arange(9)), vectors)
        assert reader.images(["label"]).column("label").to_pylist() == [*"aabbccdde"]


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ("a\nb\n", np.eye(3), "There are 2 keys and 3 vectors"),
        ("a\nb\na\n", np.eye(3), "The key 'a' occurs twice"),
        ("a\n\nc\n", np.eye(3), "Vector 2 of"),
        ("a\nb\nc\n", np.eye(3, dtype=np.int64), "must be floats of shape"),
        ("a\nb\nc\n", np.diag([1, np.nan, 1]), "The vector of 'b' has values that are not finite"),
        ("a\nb\nc\n", np.array([[{}]], object), "cannot be read as an array of numpy"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_no_collection(tmp_path, keys, values, message):
    np.save(tmp_path / "vectors.npy", values, allow_pickle=True)
    (tmp_path / "keys.txt").write_text(keys)
    said = run(tmp_path / "vectors.npy", "--keys", tmp_path / "keys.txt", "--space", "mine", "--collection",
               tmp_path / "made", code=2)  # fmt: skip
    assert message in said
    assert generations.numbers(Storage(tmp_path / "made")) == []


def test_unknown_keys_and_used_names_are_rejected(make_collection, files):
    storage = make_collection(np.eye(3, dtype=np.float32))
    given = [files / "vectors.npy", "--keys", files / "keys.csv", "--collection", storage.root]
    assert "9 of 9 keys name no image of the collection, such as 'shop/0.jpg'" in run(*given, "--space", "mine", code=2)
    assert "has a space or a model 'tiny' already" in run(*given, "--space", "tiny", code=2)
    assert "give them with --keys FILE" in run(
        files / "vectors.npy", "--space", "x", "--collection", storage.root, code=2
    )


@pytest.mark.parametrize("writer", [pa.ipc.new_file, pa.ipc.new_stream])
def test_vectors_of_an_arrow_file_become_a_collection(tmp_path, vectors, writer):
    table = pa.table({
        "key": [f"{row}.jpg" for row in range(9)],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 5),
    })  # fmt: skip
    with writer(tmp_path / "some.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=4)
    told = run(tmp_path / "some.arrow", "--space", "mine", "--collection", tmp_path / "made")
    assert (told["images"], told["dim"]) == (9, 5)
    reader = CollectionReader.open(str(tmp_path / "made"))
    assert np.array_equal(reader.vectors("", np.arange(9)), vectors)
    (tmp_path / "no.arrow").write_bytes(b"none")
    said = run(tmp_path / "no.arrow", "--space", "mine", "--collection", tmp_path / "other", code=2)
    assert "cannot be read as Arrow with vectors" in said


@pytest.mark.parametrize("column", ["key", "embedding"])
@pytest.mark.parametrize("writer", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_file_with_damaged_offsets_is_rejected(tmp_path, vectors, column, writer):
    lists = pa.array(vectors.tolist(), pa.list_(pa.float32()))
    table = pa.table({"key": [f"{row}.jpg" for row in range(9)], "embedding": lists})
    with writer(tmp_path / "some.arrow", table.schema) as file:
        file.write_table(table)
    offsets = np.arange(10, dtype=np.int32) * 5
    whole = (tmp_path / "some.arrow").read_bytes()
    at = whole.index(offsets.tobytes()) if column == "key" else whole.rindex(offsets.tobytes())
    damaged = (offsets + 64 * (np.arange(10) > 0)).astype(np.int32).tobytes()
    (tmp_path / "some.arrow").write_bytes(whole[:at] + damaged + whole[at + len(damaged) :])
    said = run(tmp_path / "some.arrow", "--space", "mine", "--collection", tmp_path / "made", code=2)
    assert "some.arrow cannot be read as Arrow with vectors: " in said
    assert "offset" in said


def test_compressed_arrow_file_is_read_a_record_batch_at_a_time(tmp_path):
    rows, dim = 64, 4096
    values = np.repeat(np.arange(rows, dtype=np.float32), dim)
    table = pa.table({
        "key": [f"{row}.jpg" for row in range(rows)],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(values), dim),
    })  # fmt: skip
    feather.write_feather(table, tmp_path / "some.feather", compression="lz4", chunksize=4)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        with input_vectors(tmp_path / "some.feather", None, tmp_path / "scratch") as given:
            assert np.array_equal(given.vectors[:, 0], np.arange(rows))
    finally:
        pa.set_memory_pool(usual)
    assert pool.max_memory() < values.nbytes / 4


def test_column_without_lists_is_no_column_of_vectors(tmp_path):
    pq.write_table(pa.table({"key": ["a", "b"], "vector": [1, 2]}), tmp_path / "some.parquet")
    said = run(tmp_path / "some.parquet", "--space", "mine", "--collection", tmp_path / "made", code=2)
    assert "its vectors are int64 in place of lists of numbers" in said
