from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import IndexerError, NotFoundError, UsageError
from lookalike_indexer.sources.open import open_source


def test_list_file_names_images_relative_to_itself(tmp_path: Path, make_picture):
    make_picture(tmp_path / "photos" / "ä b.jpg")
    (tmp_path / "list.txt").write_text("./photos/ä b.jpg\n\nphotos/missing.jpg\n", encoding="utf-8")
    source = open_source(str(tmp_path / "list.txt"))
    assert source.entry == SourceEntry("list", str(tmp_path / "list.txt"))
    there, missing = source.rows()
    assert (there.key, there.label, there.uri) == ("photos/ä b.jpg", None, "photos/ä b.jpg")
    assert (missing.key, missing.bytes) == ("photos/missing.jpg", 0)


def test_list_file_must_be_text(tmp_path: Path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"list\.txt is not UTF-8 text"):
        list(open_source(str(tmp_path / "list.txt")).rows())


def test_parquet_file_gives_keys_labels_and_rows(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [b"x", b"y"], "key": ["one", "two"], "label": ["l", None]}), path)
    source = open_source(str(path))
    assert [(r.key, r.label, r.uri) for r in source.rows()] == [
        ("one", "l", "a.parquet#one"),
        ("two", None, "a.parquet#two"),
    ]
    assert source.entry.kind == "parquet"


def test_parquet_file_needs_its_columns(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": ["one"], "image": [b"x"]}), path)
    with pytest.raises(
        UsageError, match="has the columns name, image: a Parquet source needs the columns key and image"
    ):
        open_source(str(path))


def test_parquet_row_needs_a_key(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"key": ["one", None], "image": [b"x", b"y"]}), path)
    with pytest.raises(UsageError, match=r"Row 1 of .* has no key"):
        list(open_source(str(path)).rows())


def test_file_not_parquet_is_reported(tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(IndexerError, match=r"a\.parquet cannot be read as Parquet"):
        open_source(str(tmp_path / "a.parquet"))


def test_nothing_and_a_single_image_are_no_sources(tmp_path: Path, make_picture):
    with pytest.raises(NotFoundError, match="There is no folder, list file, Parquet file or archive"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="is a single image"):
        open_source(str(make_picture(tmp_path / "a.jpg")))


def test_patterns_are_rejected_where_they_would_do_nothing(tmp_path: Path):
    (tmp_path / "list.txt").write_text("a.jpg\n")
    pq.write_table(pa.table({"key": ["one"], "image": [b"x"]}), tmp_path / "a.parquet")
    for name in (str(tmp_path / "list.txt"), str(tmp_path / "a.parquet"), "-"):
        with pytest.raises(UsageError, match=r"--exclude 'x\*' is for folders and archives"):
            open_source(name, ["x*"])
