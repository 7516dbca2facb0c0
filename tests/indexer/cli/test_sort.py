"""`lookalike sort`: links and copies of real files, by cluster and by label."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.sort import sort
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.parts import read_part, write_part

KEYS = ["a/1.jpg", "b/1.jpg", "a/2.jpg", "b/wo rd;.jpg", "gone.jpg"]


@pytest.fixture
def storage(make_collection, publish_clustering, tmp_path):
    vectors = np.eye(5, dtype=np.float32)
    storage = make_collection(vectors, labels=["x", "x", "none", None, "x"])
    publish_clustering(storage, [0, 0, 1, 1, 1])
    latest = generations.require_latest(storage)
    images = read_part(storage, latest.images[0])
    source = tmp_path / "source"
    for key in KEYS[:-1]:
        (source / key).parent.mkdir(parents=True, exist_ok=True)
        (source / key).write_bytes(key.encode())
    for name, values in (("key", KEYS), ("uri", [str(source / key) for key in KEYS])):
        at = images.column_names.index(name)
        images = images.set_column(at, images.schema.field(name), pa.array(values))
    path = latest.images[0].replace(".parquet", ".0123456789abcdef.parquet")
    write_part(storage, path, images)
    generations.publish(storage, dataclasses.replace(latest, images=[path]))
    return storage


def run(storage, *options, code=0):
    result = CliRunner().invoke(sort, [str(storage.root), *map(str, options)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else " ".join(result.output.split())


def written(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in folder.rglob("*.jpg")}


def test_sort_links_by_cluster_and_reports_missing_files(storage, tmp_path):
    into = tmp_path / "into"
    told = run(storage, "--into", into)
    assert f"{into}: 4 links in 2 folders" in told
    assert "1 file cannot be read, such as" in told
    # The second file with the same name gets its id.
    assert written(into) == {
        "cluster-0/1.jpg": "a/1.jpg",
        "cluster-0/1-4.jpg": "b/1.jpg",
        "cluster-1/2.jpg": "a/2.jpg",
        "cluster-1/wo rd-.jpg": "b/wo rd;.jpg",
    }
    assert (into / "cluster-0" / "1.jpg").is_symlink()
    assert "is not an empty folder; name a new one." in run(storage, "--into", into, code=2)


@pytest.mark.parametrize("options", [[], ["--copy"]])
def test_nothing_is_written_if_no_file_can_be_read(storage, tmp_path, options):
    (tmp_path / "source").rename(tmp_path / "moved")
    told = run(storage, *options, "--into", tmp_path / "into", code=1)
    assert "None of the 5 images can be read from" in told
    assert f"lookalike relocate {storage.root} FOLDER" in told
    assert not (tmp_path / "into").exists()


def test_copies_by_label(storage, tmp_path):
    into = tmp_path / "into"
    told = json.loads(run(storage, "--by", "label", "--copy", "--into", into, "--json"))
    assert (told["files"], len(told["missing"])) == (4, 1)
    # A label named none is not mixed with images without a label.
    assert written(into) == {
        "x/1.jpg": "a/1.jpg",
        "x/1-4.jpg": "b/1.jpg",
        "none-2/2.jpg": "a/2.jpg",
        "none/wo rd-.jpg": "b/wo rd;.jpg",
    }
    assert not any(path.is_symlink() for path in into.rglob("*"))


def test_list_writes_nothing(storage, tmp_path):
    lines = [line.split("\t") for line in run(storage, "--list").splitlines()]
    assert [folder for folder, _ in lines] == ["cluster-0"] * 2 + ["cluster-1"] * 3
    assert lines[0][1].endswith("source/a/1.jpg")
    assert "Give --into FOLDER, or --list" in run(storage, code=2)
