"""All kinds of sources on the command line."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.embed import embed
from lookalike_indexer.cli.index import index
from lookalike_indexer.collection.reader import CollectionReader

SMALL = ["--model", "squeezenet1_1", "--weights", "untrained:4", "--workers", "1", "--json"]


def picture(level: int, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (20, 20), (level, 0, 0)).save(data, kind)
    return data.getvalue()


def embedded(tmp_path: Path, source: str, *options: str, given: str | None = None) -> dict[str, str | None]:
    """Embed a source twice; return the label of each key. The second run has nothing to do."""
    for run in range(2):
        command = [source, "--collection", str(tmp_path / "collection"), *SMALL, *options]
        result = CliRunner().invoke(embed, command, input=given)
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert (report["new"] == 0) == (run == 1)
        assert report["rejected"] == 0
    images = CollectionReader.open(tmp_path / "collection").images().to_pylist()
    return {row["key"]: row["label"] for row in images}


def test_folder_with_names_of_every_kind(tmp_path: Path):
    photos = tmp_path / "photos"
    names = ["noext", "photo.jpg?w=800", "IMG.JPG.1", "tweet.jpg_large", "a.mpo", "b.avif", "c.jp2", "keep/d.png"]
    for number, name in enumerate([*names, "@eaDir/x.jpg", "thumb_1.jpg", "old/y.jpg"]):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {".mpo": "MPO", ".avif": "AVIF", ".jp2": "JPEG2000", ".png": "PNG"}.get(Path(name).suffix, "JPEG")
        (photos / name).write_bytes(picture(10 * number, kind))
    (photos / "keep" / "up").symlink_to(photos)
    os.mkfifo(photos / "fifo.jpg")
    (photos / "notes.txt").write_text("text")
    (tmp_path / "labels.csv").write_text("filename;class\n.\\noext;zero\n")
    found = embedded(
        tmp_path,
        str(photos),
        *("--exclude", "thumb_*", "--exclude", "/old"),
        *("--labels", str(tmp_path / "labels.csv")),
    )
    assert found == {name: "zero" if name == "noext" else "keep" if "/" in name else None for name in names}


def test_list_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a b.png").write_bytes(picture(1))
    (tmp_path / "c.png").write_bytes(picture(200))
    monkeypatch.chdir(tmp_path)
    given = f'\ufeff# my pictures\n"a b.png"\nfile://{tmp_path}/c.png\n'
    assert embedded(tmp_path, "-", given=given) == {"a b.png": None, f"{tmp_path}/c.png": None}


def test_archive(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in {"0.png": picture(1), "0.cls": b"cat", "dog/1.png": picture(99)}.items():
            archive.writestr(name, data)
    assert embedded(tmp_path, str(tmp_path / "a.zip")) == {"0.png": "cat", "dog/1.png": "dog"}


def test_folder_of_hugging_face_shards(tmp_path: Path):
    (tmp_path / "data").mkdir()
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    images = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for number in range(2):
        rows = [{"bytes": picture(100 * number + row), "path": None} for row in range(2)]
        schema = pa.schema([("image", images), ("label", pa.int64())], metadata)
        name = f"train-0000{number}-of-00002.parquet"
        pq.write_table(pa.table([pa.array(rows, images), pa.array([0, 1])], schema), tmp_path / "data" / name)
    assert embedded(tmp_path, str(tmp_path / "data")) == {
        f"train-0000{number}-of-00002.parquet/{row}": label
        for number in range(2)
        for row, label in enumerate(("cat", "dog"))
    }


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.tar.gz", [], "is a compressed tar file"),
        ("typed.parquet", [], "The column label of"),
        ("photos", ["--exclude", "!"], "--exclude '!' is not a pattern of gitignore syntax"),
        ("photos", ["--labels", "other.csv"], "the file has, for example, 'x.png', and the source 'a.png'"),
        ("web.txt", [], "download the images and name their files"),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(
    tmp_path: Path, monkeypatch, name: str, options: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    Path("a.tar.gz").write_bytes(b"\x1f\x8b")
    Path("web.txt").write_text("https://example.org/a.jpg\n")
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(picture(1))
    Path("other.csv").write_text("key,label\nx.png,y\n")
    pq.write_table(pa.table({"key": ["a"], "image": [b"x"], "label": [["x"]]}), "typed.parquet")
    result = CliRunner().invoke(embed, [name, "--collection", "collection", *SMALL, *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not Path("collection/source").exists()


def test_images_in_a_folder_that_cannot_be_read_are_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number, name in enumerate(["a/1.png", "a/2.png", "b/3.png", "c/4.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(picture(50 * number))
    collection = tmp_path / "collection"
    arguments = [str(tmp_path / "photos"), "--collection", str(collection), *SMALL[:-1]]
    assert CliRunner().invoke(embed, arguments).exit_code == 0
    before = CollectionReader.open(str(collection)).images().to_pylist()
    (tmp_path / "photos" / "c" / "4.png").unlink()
    # A copy of an unreadable image is no renamed file.
    (tmp_path / "photos" / "b" / "copy.png").write_bytes(picture(0))
    scandir = os.scandir

    def refuse(path: str | Path):
        if str(path).endswith("/a/"):  # root, who may run the tests, ignores permissions
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = CliRunner().invoke(embed, arguments)
    assert result.exit_code == 0, result.stderr
    assert "2 are in folders that cannot be read now, and kept as they were embedded." in result.stdout
    assert "1 are gone from the source, and kept as they were embedded." in result.stdout
    assert "These cannot be read: a." in result.stdout
    after = CollectionReader.open(str(collection)).images().to_pylist()
    assert (after[:4], [row["key"] for row in after[4:]]) == (before, ["b/copy.png"])
    report = json.loads(CliRunner().invoke(embed, [*arguments, "--json"]).stdout)
    assert (report["unreachable"], report["unreadable_folders"], report["gone"]) == (2, ["a"], 1)


def test_images_that_a_later_pattern_leaves_out_are_excluded_and_not_gone(tmp_path: Path):
    for number, name in enumerate(["a/1.png", "a/2.png", "b/3.png", "c/4.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(picture(50 * number))
    arguments = [str(tmp_path / "photos"), "--collection", str(tmp_path / "collection"), *SMALL[:-1]]
    assert CliRunner().invoke(embed, arguments).exit_code == 0
    (tmp_path / "photos" / "c" / "4.png").unlink()
    result = CliRunner().invoke(embed, [*arguments, "--exclude", "/a"])
    assert result.exit_code == 0, result.output
    assert "2 match --exclude now, and are kept as they were embedded." in result.output
    assert "1 are gone from the source, and kept as they were embedded." in result.output


@pytest.mark.parametrize("options", [[], ["--sync"], ["--sync", "--dry-run"]])
def test_missing_source_is_named_with_the_remedy(tmp_path: Path, options: list[str]):
    photos, collection = tmp_path / "photos", tmp_path / "collection"
    photos.mkdir()
    (photos / "a.png").write_bytes(picture(50))
    assert CliRunner().invoke(embed, [str(photos), "--collection", str(collection), *SMALL]).exit_code == 0
    photos.rename(tmp_path / "moved")
    result = CliRunner().invoke(index, [str(photos), "--collection", str(collection), *options])
    told = " ".join(result.output.split())
    assert result.exit_code == 1
    assert f"The source of the collection {collection} is not there: the directory {photos}." in told
    assert f"lookalike relocate {collection} FOLDER" in told
    other = CliRunner().invoke(index, [str(tmp_path / "nope"), "--collection", str(collection), *options])
    assert "There is no folder, list file" in other.output


def test_run_without_new_images_reports_it(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture(50))
    arguments = [str(tmp_path / "photos"), "--collection", str(tmp_path / "collection"), *SMALL[:-1]]
    first, again = (CliRunner().invoke(embed, arguments).stdout.splitlines()[0] for _ in range(2))
    assert first.startswith("Embedded 1 image in ")
    assert again.startswith("Embedded 0 images with squeezenet1_1, weights untrained:4 (UNTRAINED")
    assert again.endswith(". Nothing is new.")


def test_source_without_a_readable_file_leaves_no_folder(tmp_path: Path):
    (tmp_path / "note.txt").write_text("hello\n")
    arguments = [str(tmp_path / "note.txt"), "--collection", str(tmp_path / "collection"), *SMALL]
    result = CliRunner().invoke(embed, arguments)
    assert result.exit_code == 2, result.output
    assert "note.txt is read as a list of paths, one a line, and none of its lines names a readable image" in " ".join(
        result.output.split()
    )
    assert not (tmp_path / "collection").exists()
