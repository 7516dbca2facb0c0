from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import UsageError
from lookalike_indexer.sources.labels import Labels, normalized_key

SOURCE = SourceEntry("directory", "/photos/a b")


def look_up(labels: Labels, *keys: str) -> list[str | None]:
    """Return the label of each key; "?" if the file has none."""
    found = zip(*labels.look_up(keys), strict=True)
    return [label if mentioned else "?" for label, mentioned in found]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_gives_each_key_its_label_and_counts_strangers(tmp_path: Path, kind: str):
    path = tmp_path / f"labels.{kind}"
    if kind == "csv":
        path.write_text(
            'key,weight,label\n"a,b.jpg",1,007\nc.jpg,2,ünï\nd.jpg,3,\nstranger.jpg,4,x\n', encoding="utf-8"
        )
    else:
        columns = {"label": ["007", "ünï", None, "x"], "key": ["a,b.jpg", "c.jpg", "d.jpg", "stranger.jpg"]}
        pq.write_table(pa.table(columns), path)
    labels = Labels(path, SOURCE)
    assert look_up(labels, "c.jpg", "unlisted.jpg", "a,b.jpg", "d.jpg") == ["ünï", "?", "007", None]
    assert (labels.used, labels.unknown, labels.example) == (3, 1, "a,b.jpg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,b\n", "has the columns name, label: it needs key and label"),
        ("file,path,label\na,b,c\n", "has the columns file, path, label: it needs key and label"),
        ("key,label\n./a,b\na,c\n", "has two labels for one image, as './a' and as 'a'"),
        ("key,label\na,b\na,c\n", "has the key 'a' twice"),
        ("key,label\na,b,c\n", "is neither CSV nor Parquet of key,label"),
        ("", "is neither CSV nor Parquet of key,label"),
    ],
)
def test_says_what_is_wrong_with_a_labels_file(tmp_path: Path, text: str, message: str):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        Labels(tmp_path / "labels.csv", SOURCE)


def test_missing_labels_file_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"There is no labels file .*none\.csv"):
        Labels(tmp_path / "none.csv", SOURCE)


@pytest.mark.parametrize(
    "text",
    [
        "c/d e.jpg",
        "./c/d e.jpg",
        "c\\d e.jpg",
        ".\\c\\d e.jpg",
        "/photos/a b/c/d e.jpg",
        "c//./d e.jpg",
        "file:///photos/a%20b/c/d%20e.jpg",
    ],
)
def test_every_spelling_of_a_path_matches(tmp_path: Path, text: str):
    assert normalized_key(SOURCE, text) == "c/d e.jpg"
    (tmp_path / "labels.csv").write_text(f"key,label\n{text},x\n")
    labels = Labels(tmp_path / "labels.csv", SOURCE)
    assert look_up(labels, "c/d e.jpg", "d e.jpg") == ["x", "?"]
    assert labels.unknown == 0


def test_two_labels_of_one_image_are_rejected(tmp_path: Path):
    table = tmp_path / "labels.csv"
    table.write_text("key,label\na.jpg,x\n./a.jpg,x\nb.jpg,x\n./b.jpg,y\n")
    with pytest.raises(UsageError, match=r"two labels for one image, as 'b.jpg' and as './b.jpg'"):
        Labels(table, SourceEntry("directory", "/photos"))


def test_exact_key_is_matched_before_other_spellings(tmp_path: Path):
    (tmp_path / "labels.csv").write_text("key,label\n/list/a.jpg,x\n")
    labels = Labels(tmp_path / "labels.csv", SourceEntry("list", "/list/list.txt"))
    assert look_up(labels, "/list/a.jpg", "a.jpg") == ["x", "x"]


@pytest.mark.parametrize(
    "text",
    ["\ufeffkey,label\na.jpg,x\n", "key;label\na.jpg;x\n", "filename\tclass\na.jpg\tx\n", "path,category\na.jpg,x"],
)
def test_reads_tables_as_other_programs_write_them(tmp_path: Path, text: str):
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert look_up(Labels(tmp_path / "labels.csv", SOURCE), "a.jpg") == ["x"]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", pa.array([["x"]]), r"The column label of the labels file .* has the type list<.*>; it must be text"),
        ("key", pa.array([1.5]), "The column key of the labels file .* has the type double"),
    ],
)
def test_column_of_another_type_is_named_with_its_type(tmp_path: Path, column: str, values: pa.Array, message: str):
    pq.write_table(pa.table({"key": pa.array(["a"]), "label": ["x"], column: values}), tmp_path / "labels.parquet")
    with pytest.raises(UsageError, match=message):
        Labels(tmp_path / "labels.parquet", SOURCE)


def test_file_without_rows_is_rejected(tmp_path: Path):
    (tmp_path / "labels.csv").write_text("key,label\n")
    with pytest.raises(UsageError, match=r"labels\.csv has no rows"):
        Labels(tmp_path / "labels.csv", SOURCE)


def test_non_utf8_labels_are_reported(tmp_path: Path):
    (tmp_path / "labels.csv").write_bytes(b"key,label\na.jpg,caf\xe9\n")
    with pytest.raises(UsageError, match=r"labels\.csv is neither CSV nor Parquet of key,label"):
        Labels(tmp_path / "labels.csv", SOURCE)
