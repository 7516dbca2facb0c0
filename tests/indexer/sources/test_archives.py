from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lookalike_indexer.collection.uris import absolute
from lookalike_indexer.errors import DecodeError, IndexerError, UsageError
from lookalike_indexer.sources.container import is_contained
from lookalike_indexer.sources.fetch import Fetcher, fetch
from lookalike_indexer.sources.open import open_source


def picture(level: int, kind: str = "JPEG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 6), (level, 0, 0)).save(data, kind)
    return data.getvalue()


WEBDATASET = {
    "./000.jpg": picture(1),
    "000.cls": b"3\n",
    "001.json": json.dumps({"label": "cat", "width": 8}).encode(),
    "001.png": picture(2, "PNG"),
    "001.txt": b"A cat on a mat.",
    "002.jpg": picture(3),
    "dog/003.jpg_large": picture(4),
    "__MACOSX/._000.jpg": b"x",
    ".hidden.jpg": b"x",
    "../outside.jpg": picture(5),
    "sub.v1/004.seg.jpg": picture(6),
    "README.md": b"text",
}
ROWS = [
    ("000.jpg", "3"),
    ("001.png", "cat"),
    ("002.jpg", None),
    ("dog/003.jpg_large", "dog"),
    ("sub.v1/004.seg.jpg", "sub.v1"),
]


def write(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archive_gives_its_images_with_the_labels_beside_them(tmp_path: Path, kind: str):
    path = write(tmp_path / f"a.{kind}", WEBDATASET)
    source = open_source(str(path), ["*.seg.jpg"])
    assert [(row.key, row.label) for row in source.rows()] == ROWS[:-1]
    assert source.left_out == {
        "not an image (.txt)": 1,
        "not an image (.md)": 1,
        "excluded": 2,
        "hidden": 1,
        "absolute path or .. in an archive": 1,
    }
    source = open_source(str(path))
    rows = list(source.rows())
    assert [(row.key, row.label) for row in rows] == ROWS
    assert list(source.keys() or ()) == [row.key for row in rows]
    assert (source.entry.kind, rows[0].bytes, rows[0].uri) == (kind, path.stat().st_size, f"a.{kind}#000.jpg")
    with Fetcher() as fetcher:
        for row in reversed(rows):
            uri = absolute(source.entry, row.uri)
            assert is_contained(uri)
            expected = next(data for name, data in WEBDATASET.items() if name.removeprefix("./") == row.key)
            assert fetcher.fetch(uri, 10_000) == expected


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_unreadable_member_has_a_reason(tmp_path: Path, kind: str):
    path = write(tmp_path / f"a.{kind}", {"a.jpg": bytes(1000), "empty.jpg": b""})
    for key, reason, error_kind in (
        ("none.jpg", "no member 'none.jpg'", "missing"),
        ("a.jpg", "has 1,000 bytes, more than the 999", "limit"),
        ("empty.jpg", "empty", "damaged"),
    ):
        with pytest.raises(DecodeError, match=reason) as caught:
            fetch(f"{path}#{key}", 999)
        assert caught.value.kind == error_kind


def test_zip_bomb_is_rejected_before_it_is_decompressed(tmp_path: Path):
    path = write(tmp_path / "a.zip", {"a.jpg": bytes(1 << 24)})
    with pytest.raises(DecodeError, match="more than the") as caught:
        fetch(f"{path}#a.jpg", 1 << 20)
    assert caught.value.kind == "limit"
    # A member with a false size is read up to that size.
    data = path.read_bytes()
    path.write_bytes(data.replace((1 << 24).to_bytes(4, "little"), (1 << 10).to_bytes(4, "little")))
    with pytest.raises(DecodeError, match="damaged"):
        fetch(f"{path}#a.jpg", 1 << 20)


def test_encrypted_or_damaged_member_fails_only_itself(tmp_path: Path):
    path = write(tmp_path / "a.zip", {"a.jpg": os.urandom(500), "b.jpg": b"good"})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="damaged"):
        fetch(f"{path}#a.jpg", 1000)
    assert fetch(f"{path}#b.jpg", 1000) == b"good"
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DecodeError, match="is encrypted; unpack the archive"):
        fetch(f"{path}#a.jpg", 1000)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_rewritten_archive_gives_each_key_its_own_image(tmp_path: Path, kind: str):
    for order in ("ab", "ba"):
        path = write(tmp_path / f"a.{kind}", {f"{key}.jpg": f"{order} {key}".encode() for key in order})
        os.utime(path, ns=(len(order), ord(order[0])))
        assert [fetch(f"{path}#{key}.jpg", 100) for key in "ab"] == [f"{order} {key}".encode() for key in "ab"]


def test_links_and_non_utf8_names_are_reported(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        fifo = tarfile.TarInfo("fifo.jpg")
        fifo.type = tarfile.FIFOTYPE
        tar.addfile(fifo)
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"caf\xe9.jpg")))
    source = open_source(str(tmp_path / "a.tar"))
    assert [(row.key, row.uri) for row in source.rows()] == [("caf\\xe9.jpg", "")]
    assert source.left_out == {"link in an archive": 1, "FIFO or device": 1}


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_file_not_an_archive_is_reported(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(IndexerError, match=r"cannot be read as a (tar|zip) file"):
        list(open_source(str(tmp_path / name)).rows())


def test_compressed_tar_is_rejected_by_name(tmp_path: Path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UsageError, match=r"compressed tar file, .*; decompress it to a \.tar first"):
        open_source(str(tmp_path / "a.tar.gz"))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_tar_under_another_name_is_reported(tmp_path: Path, compress):
    write(tmp_path / "plain.tar", {"0.jpg": picture(1)})
    (tmp_path / "a.tar").write_bytes(compress((tmp_path / "plain.tar").read_bytes()))
    with pytest.raises(IndexerError, match=r"it is compressed, whatever its name says; decompress it to a \.tar first"):
        list(open_source(str(tmp_path / "a.tar")).rows())


def test_folder_of_shards_is_a_source(tmp_path: Path):
    write(tmp_path / "train" / "b.tar", {"0.jpg": picture(1), "0.cls": b"x"})
    write(tmp_path / "train" / "a.zip", {"0.jpg": picture(2)})
    (tmp_path / "train" / "c.tar").write_bytes(b"damaged" * 200)
    (tmp_path / "README.md").write_text("about")
    source = open_source(str(tmp_path))
    rows = list(source.rows())
    assert [(row.key, row.label, row.uri) for row in rows] == [
        ("train/a.zip/0.jpg", None, "train/a.zip#0.jpg"),
        ("train/b.tar/0.jpg", "x", "train/b.tar#0.jpg"),
    ]
    assert source.entry.kind == "shards"
    assert source.left_out == {"not an image (.md)": 1, "unreadable archive or Parquet file": 1}
    assert source.unreadable_folders == ["train/c.tar"]
    assert [fetch(absolute(source.entry, row.uri), 10_000) for row in rows] == [picture(2), picture(1)]


def test_folder_with_images_leaves_shards_out_and_reports_them(tmp_path: Path, make_picture):
    write(tmp_path / "a.zip", {"0.jpg": picture(2)})
    make_picture(tmp_path / "z" / "a.jpg")
    source = open_source(str(tmp_path))
    assert [row.key for row in source.rows()] == ["z/a.jpg"]
    assert source.entry.kind == "directory"
    assert source.left_out == {"archive or Parquet file (.zip)": 1}
    assert open_source(str(tmp_path), ["z"]).entry.kind == "shards"
