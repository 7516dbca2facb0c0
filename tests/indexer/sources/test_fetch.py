from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.errors import DecodeError
from lookalike_indexer.sources.fetch import fetch


def test_reads_a_file(tmp_path: Path):
    (tmp_path / "a#1").write_bytes(b"abc")
    assert fetch(str(tmp_path / "a#1"), 3) == b"abc"


def test_refuses_more_bytes_than_allowed(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abcd")
    with pytest.raises(DecodeError, match="larger than the 3 bytes"):
        fetch(str(tmp_path / "a"), 3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "no such file"), ("empty", "empty"), ("folder", "cannot be read"), ("a\0b", "null")],
)
def test_tells_why_a_file_cannot_be_had(tmp_path: Path, name: str, reason: str):
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DecodeError, match=reason):
        fetch(f"{tmp_path}/{name}", 10)


def test_reads_rows_of_a_parquet_file_in_any_order(tmp_path: Path):
    path = tmp_path / "images.parquet"
    images = [f"image {number}".encode() for number in range(25)]
    pq.write_table(pa.table({"key": [str(n) for n in range(25)], "image": images}), path, row_group_size=4)
    for row in (24, 0, 1, 13, 12, 3, 4):
        assert fetch(f"{path}#{row}", 100) == images[row]
    with pytest.raises(DecodeError, match="row 25 of the Parquet file cannot be read"):
        fetch(f"{path}#25", 100)


def test_sees_that_a_parquet_file_was_written_anew(tmp_path: Path):
    path = tmp_path / "images.parquet"
    for content in (b"before", b"after!"):
        pq.write_table(pa.table({"key": ["a"], "bytes": [content]}), path)
        assert fetch(f"{path}#0", 100) == content


def test_a_row_without_an_image_is_refused(tmp_path: Path):
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"key": ["a"], "image": pa.array([None], pa.binary())}), path)
    with pytest.raises(DecodeError, match="row 0 of the Parquet file has no image"):
        fetch(f"{path}#0", 100)
