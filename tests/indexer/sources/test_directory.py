from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from lookalike_indexer.errors import DecodeError, IndexerError, UsageError
from lookalike_indexer.sources.directory import DirectorySource
from lookalike_indexer.sources.fetch import fetch


def test_lists_images_by_name_with_the_first_folder_as_label(tmp_path: Path, make_picture):
    for name in ("zebra/b.JPG", "zebra/deep/a.tiff", "ant/c.webp", "root.png", "ünï/日本.gif"):
        make_picture(tmp_path / name)
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
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
def test_knows_images_without_an_extension_by_their_first_bytes(tmp_path: Path, make_picture, kind: str):
    make_picture(tmp_path / "picture", kind=kind)
    (tmp_path / "LICENSE").write_text("text")
    (tmp_path / "empty").touch()
    assert [row.key for row in DirectorySource(tmp_path).rows()] == ["picture"]


def test_visits_each_folder_once_and_real_folders_before_links(tmp_path: Path, make_picture):
    make_picture(tmp_path / "photos" / "m" / "1.jpg")
    make_picture(tmp_path / "elsewhere" / "deep" / "2.jpg")
    (tmp_path / "photos" / "m" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "a").symlink_to(tmp_path / "photos" / "m")
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "c").symlink_to(tmp_path / "elsewhere" / "deep")
    source = DirectorySource(tmp_path / "photos")
    assert [(row.key, row.label) for row in source.rows()] == [("m/1.jpg", "m"), ("b/deep/2.jpg", "b")]
    assert source.left_out == {"linked folder seen before": 3}


def test_chain_of_linked_folders_gives_each_image_once(tmp_path: Path, make_picture):
    for number in range(7):
        make_picture(tmp_path / f"{number}" / "a.jpg")
    for number in range(7):
        for other in range(7):
            (tmp_path / f"{number}" / f"to{other}").symlink_to(tmp_path / f"{other}")
    assert [row.key for row in DirectorySource(tmp_path).rows()] == [f"{number}/a.jpg" for number in range(7)]


def test_folders_may_be_nested_deeper_than_calls():
    # Not below `tmp_path`: pytest could not remove it, since shutil.rmtree of Python 3.11 is recursive.
    root = tempfile.mkdtemp()
    try:
        deep = os.open(root, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=deep)
            deeper = os.open("d", os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = deeper
        os.close(os.open("a.jpg", os.O_CREAT, dir_fd=deep))
        os.close(deep)
        assert [row.key for row in DirectorySource(Path(root)).rows()] == ["d/" * 1500 + "a.jpg"]
    finally:
        subprocess.run(["rm", "-rf", root], check=True)


def test_counts_what_it_leaves_out_by_kind(tmp_path: Path, make_picture):
    for name in ("notes.txt", "more.txt", "movie.MP4", "noext", ".hidden.jpg", "a.tar", "raw.NEF", "x.a b", "empty"):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"II*\x00 or not")
    (tmp_path / "noext").write_bytes(b"BMW is a car, which is no picture at all")
    make_picture(tmp_path / "@eaDir" / "thumb.jpg")
    make_picture(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    source = DirectorySource(tmp_path)
    for _ in range(2):
        assert [row.key for row in source.rows()] == ["a.jpg", "x.a b"]
        assert source.left_out == {
            "not an image (.txt)": 2,
            "not an image (.mp4)": 1,
            "not an image (no suffix)": 2,
            "archive or Parquet file (.tar)": 1,
            "camera raw (.nef)": 1,
            "hidden": 1,
            "excluded": 1,
            "FIFO or device": 2,
            "broken link": 1,
        }


@pytest.mark.parametrize(
    "name", ["photo.jpg?w=800", "IMG.JPG.1", "tweet.jpg_large", "a.MPO", "a.dat", "a.jpg~", "a.jpg.", "..jpg.part"]
)
def test_image_of_any_name_is_found_by_its_first_bytes(tmp_path: Path, make_picture, name: str):
    make_picture(tmp_path / name.lstrip("."))
    assert [row.key for row in DirectorySource(tmp_path).rows()] == [name.lstrip(".")]


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "MPO"])
def test_later_formats_are_known_by_their_first_bytes(tmp_path: Path, make_picture, kind: str):
    make_picture(tmp_path / "picture", kind=kind)
    assert [row.key for row in DirectorySource(tmp_path).rows()] == ["picture"]


def test_leaves_out_what_patterns_name(tmp_path: Path, make_picture):
    for name in ("a.jpg", "thumb_a.jpg", "old/b.jpg", "old/keep/c.jpg", "new/old/d.jpg", "new/e.png", "__MACOSX/f.jpg"):
        make_picture(tmp_path / name)
    source = DirectorySource(tmp_path, ["thumb_*", "/old/*", "!/old/keep", "*.png", "!__MACOSX"])
    assert [row.key for row in source.rows()] == ["__MACOSX/f.jpg", "a.jpg", "new/old/d.jpg", "old/keep/c.jpg"]
    assert source.left_out == {"excluded": 3}
    assert source.entry.exclude == ["thumb_*", "/old/*", "!/old/keep", "*.png", "!__MACOSX"]
    with pytest.raises(UsageError, match=r"--exclude '!' is not a pattern"):
        DirectorySource(tmp_path, ["!"])


def test_unreadable_subfolder_is_counted_and_named(tmp_path: Path, make_picture, monkeypatch: pytest.MonkeyPatch):
    make_picture(tmp_path / "a" / "1.jpg")
    make_picture(tmp_path / "b" / "2.jpg")
    scandir = os.scandir

    def refuse(path: str):
        if path.endswith("/a/"):  # root, who may run the tests, ignores permissions
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = DirectorySource(tmp_path)
    assert [row.key for row in source.rows()] == ["b/2.jpg"]
    assert (source.left_out, source.unreadable_folders) == ({"unreadable folder": 1}, ["a"])


def test_non_utf8_name_gets_a_printable_key_and_cannot_be_read(tmp_path: Path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (row,) = DirectorySource(tmp_path).rows()
    assert row.key == "caf\\xe9.jpg"
    with pytest.raises(DecodeError, match="not valid UTF-8"):
        fetch(row.uri, 100)


def test_broken_link_is_listed_and_cannot_be_read(tmp_path: Path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (row,) = DirectorySource(tmp_path).rows()
    with pytest.raises(DecodeError, match="there is no such file") as caught:
        fetch(str(tmp_path / row.uri), 100)
    assert caught.value.kind == "missing"


def test_vanished_folder_is_named_in_the_error(tmp_path: Path):
    source = DirectorySource(tmp_path / "folder")
    with pytest.raises(IndexerError, match="folder cannot be read"):
        list(source.rows())


def test_real_images_have_their_folders_as_labels(photos_dir: Path):
    rows = list(DirectorySource(photos_dir / "caltech101").rows())
    assert len(rows) == 1980
    assert len({row.label for row in rows}) == 99
    assert [row.key for row in rows] == sorted((row.key for row in rows), key=lambda key: key.split("/"))
