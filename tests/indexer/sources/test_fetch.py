from __future__ import annotations

import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.errors import DecodeError
from lookalike_indexer.sources.fetch import Fetcher, fetch, is_contained


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
def test_unreadable_file_has_a_reason(tmp_path: Path, name: str, reason: str):
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DecodeError, match=reason):
        fetch(f"{tmp_path}/{name}", 10)


def parquet(path: Path, rows: dict[str, bytes | None], **options: object) -> Path:
    pq.write_table(pa.table({"key": list(rows), "image": pa.array(rows.values(), pa.binary())}), path, **options)
    return path


@pytest.mark.parametrize("order", [list(range(25)), [24, 0, 1, 13, 12, 3, 4, 3]])
def test_finds_the_rows_of_a_parquet_file_by_key(tmp_path: Path, order: list[int]):
    images = {f"key {number}#": f"image {number}".encode() for number in range(25)}
    path = parquet(tmp_path / "images.parquet", images, row_group_size=4)
    with Fetcher() as fetcher:
        for row in order:
            assert fetcher.fetch(f"{path}#key {row}#", 100) == images[f"key {row}#"]
    with pytest.raises(DecodeError, match="has no row of the key 'key 25'") as caught:
        fetch(f"{path}#key 25", 100)
    assert caught.value.kind == "missing"


def test_rewritten_parquet_file_gives_each_key_its_own_image(tmp_path: Path):
    path = tmp_path / "images.parquet"
    for keys in ("abc", "cba", "bca"):
        parquet(path, {key: f"{keys} {key}".encode() for key in keys})
        assert [fetch(f"{path}#{key}", 100) for key in "abc"] == [f"{keys} {key}".encode() for key in "abc"]


def test_large_row_group_is_read_in_order_once_and_in_bounded_memory(tmp_path: Path):
    """Fails if a row group is decoded at once: it has 96 MiB, a batch 8."""
    image = bytes(1 << 20)
    keys = [str(number) for number in range(96)]
    path = tmp_path / "images.parquet"
    pages = {"use_dictionary": False, "write_batch_size": 8}
    parquet(path, {key: bytes([number]) + image for number, key in enumerate(keys)}, **pages)
    assert pq.ParquetFile(path).num_row_groups == 1
    before = pa.total_allocated_bytes()
    most = 0
    with Fetcher() as fetcher:
        for number, key in enumerate(keys):
            assert fetcher.fetch(f"{path}#{key}", 2 << 20)[0] == number
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 40 << 20


def test_row_without_an_image_and_too_large_row_are_rejected(tmp_path: Path):
    path = parquet(tmp_path / "images.parquet", {"a": None, "b": b"12345"})
    with pytest.raises(DecodeError, match="the row of the Parquet file has no image") as caught:
        fetch(f"{path}#a", 100)
    assert caught.value.kind == "missing"
    with pytest.raises(DecodeError, match="has 5 bytes, more than the 4") as caught:
        fetch(f"{path}#b", 4)
    assert caught.value.kind == "limit"


def test_damaged_page_fails_only_its_rows(tmp_path: Path):
    images = {str(number): os.urandom(500) for number in range(40)}
    path = parquet(tmp_path / "images.parquet", images, row_group_size=10, compression="none", use_dictionary=False)
    data = path.read_bytes()
    # An image's bytes are preceded by their length: a wrong length makes the page unreadable.
    at = data.index(images["15"]) - 4
    path.write_bytes(data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :])
    read, kinds = [], set()
    for key in images:
        try:
            assert fetch(f"{path}#{key}", 1000) == images[key]
            read.append(int(key))
        except DecodeError as error:
            kinds.add(error.kind)
    assert {*range(10), *range(20, 40)} <= set(read)
    assert 15 not in read
    assert kinds == {"unreadable"}


def test_fifo_is_rejected_immediately(tmp_path: Path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(DecodeError, match="it is a FIFO") as caught:
        fetch(str(tmp_path / "a.jpg"), 100)
    assert caught.value.kind == "unreadable"


def test_files_in_a_container_are_recognized(tmp_path: Path):
    path = parquet(tmp_path / "a.parquet", {"b.parquet#c": b"x"})
    (tmp_path / "a.parquet#file").write_bytes(b"y")
    assert is_contained(f"{path}#b.parquet#c")
    assert fetch(f"{path}#b.parquet#c", 10) == b"x"
    assert not is_contained(f"{path}#file")
    assert fetch(f"{path}#file", 10) == b"y"
    assert not is_contained(f"{tmp_path}/none.parquet#a")
    assert not is_contained("")


def test_error_keeps_its_kind_between_processes():
    error = pickle.loads(pickle.dumps(DecodeError("gone", kind="missing")))  # noqa: S301
    assert (str(error), error.kind, DecodeError("x").kind) == ("gone", "missing", "damaged")
