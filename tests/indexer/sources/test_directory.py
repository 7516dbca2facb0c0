from __future__ import annotations

import os
from pathlib import Path

import pytest

from lookalike_indexer.errors import DecodeError, IndexerError
from lookalike_indexer.sources.directory import DirectorySource
from lookalike_indexer.sources.fetch import fetch


def test_lists_pictures_by_name_with_the_first_folder_as_label(tmp_path: Path, make_picture):
    for name in ("zebra/b.JPG", "zebra/deep/a.tiff", "ant/c.webp", "root.png", "ünï/日本.gif"):
        make_picture(tmp_path / name)
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    rows = list(DirectorySource(tmp_path).rows())
    assert [(row.key, row.label) for row in rows] == [
        ("ant/c.webp", "ant"),
        ("root.png", None),
        ("zebra/b.JPG", "zebra"),
        ("zebra/deep/a.tiff", "zebra"),
        ("ünï/日本.gif", "ünï"),
    ]
    assert rows[1].uri == "root.png"
    assert rows[1].bytes == (tmp_path / "root.png").stat().st_size


def test_leaves_hidden_files_and_folders_out(tmp_path: Path, make_picture):
    make_picture(tmp_path / ".hidden.jpg")
    make_picture(tmp_path / ".cache" / "a.jpg")
    make_picture(tmp_path / "a.jpg")
    assert [row.key for row in DirectorySource(tmp_path).rows()] == ["a.jpg"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_knows_pictures_without_an_extension_by_their_first_bytes(tmp_path: Path, make_picture, kind: str):
    make_picture(tmp_path / "picture", kind=kind)
    (tmp_path / "LICENSE").write_text("text")
    (tmp_path / "empty").touch()
    assert [row.key for row in DirectorySource(tmp_path).rows()] == ["picture"]


def test_follows_links_but_not_in_circles(tmp_path: Path, make_picture):
    make_picture(tmp_path / "a" / "1.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert [row.key for row in DirectorySource(tmp_path).rows()] == ["a/1.jpg", "b/1.jpg"]


def test_a_name_that_is_not_utf8_gets_a_printable_key_and_cannot_be_read(tmp_path: Path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (row,) = DirectorySource(tmp_path).rows()
    assert row.key == "caf\\xe9.jpg"
    with pytest.raises(DecodeError, match="not valid UTF-8"):
        fetch(row.uri, 100)


def test_a_broken_link_is_listed_and_cannot_be_read(tmp_path: Path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (row,) = DirectorySource(tmp_path).rows()
    with pytest.raises(DecodeError, match="there is no such file") as caught:
        fetch(str(tmp_path / row.uri), 100)
    assert caught.value.kind == "missing"


def test_a_folder_that_goes_away_is_an_error_that_names_it(tmp_path: Path):
    source = DirectorySource(tmp_path / "folder")
    with pytest.raises(IndexerError, match="folder cannot be read"):
        list(source.rows())


def test_the_real_photographs_have_their_folders_as_labels(photos_dir: Path):
    rows = list(DirectorySource(photos_dir / "caltech101").rows())
    assert len(rows) == 1980
    assert len({row.label for row in rows}) == 99
    assert [row.key for row in rows] == sorted((row.key for row in rows), key=lambda key: key.split("/"))
