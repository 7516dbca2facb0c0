from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection.uris import absolute
from lookalike_indexer.errors import IndexerError, UsageError
from lookalike_indexer.sources.fetch import fetch
from lookalike_indexer.sources.open import open_source

IMAGES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {
    "img": {"_type": "Image"},
    "kind": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "caption": {"dtype": "string", "_type": "Value"},
}


def hugging_face(path: Path, paths: list[str | None], column: str = "img", labels: list[int] | None = None) -> Path:
    """A file as `datasets` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": f"{path.name} {row}".encode(), "path": name} for row, name in enumerate(paths)]
    kinds = labels or [row % 2 for row in range(len(paths))]
    features = {column if name == "img" else name: value for name, value in FEATURES.items()}
    schema = pa.schema(
        [(column, IMAGES), ("kind", pa.int64()), ("caption", pa.string())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    columns = [pa.array(images, IMAGES), pa.array(kinds), pa.array(["text"] * len(paths))]
    pq.write_table(pa.table(columns, schema), path)
    return path


def rows(path: Path) -> list[tuple[str, str | None, bytes]]:
    source = open_source(str(path))
    return [(row.key, row.label, fetch(absolute(source.entry, row.uri), 100)) for row in source.rows()]


@pytest.mark.parametrize("column", ["image", "img", "photo"])
def test_reads_hugging_face_files_with_their_class_names(tmp_path: Path, column: str):
    path = hugging_face(tmp_path / "a.parquet", ["x/1.jpg", "2.jpg", "3.jpg"], column, [1, 0, -1])
    assert rows(path) == [
        ("x/1.jpg", "dog", b"a.parquet 0"),
        ("2.jpg", "cat", b"a.parquet 1"),
        ("3.jpg", None, b"a.parquet 2"),
    ]


@pytest.mark.parametrize("paths", [["a.jpg", None], ["a.jpg", "a.jpg"], [None, None], ["", "a.jpg"]])
def test_rows_are_keys_where_paths_are_not_unique(tmp_path: Path, paths: list[str | None]):
    path = hugging_face(tmp_path / "a.parquet", paths)
    assert rows(path) == [("0", "cat", b"a.parquet 0"), ("1", "dog", b"a.parquet 1")]


def test_reads_a_folder_of_shards(tmp_path: Path):
    for number in range(2):
        hugging_face(tmp_path / "data" / f"train-0000{number}-of-00002.parquet", ["a.jpg", "b.jpg"])
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "data" / "other.parquet")
    source = open_source(str(tmp_path))
    shard = "data/train-0000{}-of-00002.parquet"
    assert [(row.key, row.label, row.uri) for row in source.rows()] == [
        (f"{shard.format(number)}/{name}", label, f"{shard.format(number)}#{name}")
        for number in range(2)
        for name, label in (("a.jpg", "cat"), ("b.jpg", "dog"))
    ]
    assert source.left_out == {"Parquet file without images": 1}


def test_class_without_a_name_is_reported(tmp_path: Path):
    path = hugging_face(tmp_path / "a.parquet", ["a.jpg"], labels=[7])
    with pytest.raises(UsageError, match="has the class 7, but its metadata names the classes 0 to 1"):
        rows(path)


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"label": pa.array([7])}, "7"),
        ({"label": pa.array(["x"]).dictionary_encode()}, "x"),
        ({"label": pa.array(["x"], pa.large_string()), "key": pa.array([5], pa.int32())}, "x"),
        ({"label": pa.array([None], pa.null())}, None),
        ({"image": pa.array([b"y"], pa.large_binary())}, None),
    ],
)
def test_integers_and_every_kind_of_text_are_keys_and_labels(tmp_path: Path, columns: dict[str, pa.Array], label):
    table = {"key": pa.array(["k"]), "image": pa.array([b"y"]), **columns}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == [(str(table["key"][0]), label, b"y")]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("image", pa.array([1]), "The column image of .* has the type int64; images must be binary"),
        ("image", pa.array(["x"]), "The column image of .* has the type string; images must be binary"),
        ("image", pa.array([{"path": "x"}]), r"The column image of .* has the type struct<path: string>"),
        ("key", pa.array([1.5]), "The column key of .* has the type double; keys must be text or integers"),
        ("key", pa.array([b"x"]), "The column key of .* has the type binary; keys must be text or integers"),
        ("label", pa.array([["x", "y"]]), r"The column label of .* has the type list<.*>; labels must be text"),
        ("label", pa.array([0.5]), "The column label of .* has the type double; labels must be text or integers"),
    ],
)
def test_column_of_another_type_is_named_with_its_type(tmp_path: Path, column: str, values: pa.Array, message: str):
    table = {"key": pa.array(["k"]), "image": pa.array([b"y"]), column: values}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=message):
        open_source(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("column", ["key", "label"])
def test_non_utf8_text_is_reported(tmp_path: Path, column: str):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9")])
    pq.write_table(pa.table({"key": pa.array(["k"]), "image": [b"y"], column: broken}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=f"The column {column} of .* has a text that is not UTF-8"):
        list(open_source(str(tmp_path / "a.parquet")).rows())


def test_damaged_page_of_keys_is_reported_in_a_sentence(tmp_path: Path):
    path = tmp_path / "a.parquet"
    keys = [f"key-{number}" for number in range(9)]
    pq.write_table(pa.table({"key": keys, "image": [b"y"] * 9}), path, compression="none", use_dictionary=False)
    data = path.read_bytes()
    at = data.index(b"key-0") - 4
    path.write_bytes(data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :])
    with pytest.raises(IndexerError, match=r"a\.parquet cannot be read as Parquet"):
        list(open_source(str(path)).rows())
