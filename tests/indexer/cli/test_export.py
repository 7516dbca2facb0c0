from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pyarrow import csv

from lookalike_indexer.cli.export import export
from lookalike_indexer.experiments.view import View


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((7, 4)).astype(np.float16)


@pytest.fixture
def storage(make_collection, vectors):
    return make_collection(vectors, labels=["a", None, "b", "a", "b", "a,b", "c"], part_rows=3, dtype="float16")


def run(storage, *options, code=0):
    result = CliRunner().invoke(export, [str(storage.root), *map(str, options)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else " ".join(result.output.split())


def test_parquet_has_keys_labels_and_embeddings(storage, vectors, tmp_path):
    told = json.loads(run(storage, tmp_path / "out.parquet", "--json"))
    assert told == {"space": "tiny", "rows": 7, "dim": 4, "files": [str(tmp_path / "out.parquet")]}
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "key", "label", "embedding"]
    assert table.column("key").to_pylist()[:2] == ["00001.jpg", "00004.jpg"]
    assert table.column("label").to_pylist()[:3] == ["a", None, "b"]
    assert np.array_equal(np.stack(table.column("embedding").to_pylist()), vectors.astype(np.float32))


def test_array_has_its_keys_beside_it(storage, vectors, tmp_path):
    told = run(storage, tmp_path / "out.npy")
    assert "tiny: 7 embeddings of 4 dimensions in" in told
    found = np.load(tmp_path / "out.npy", allow_pickle=False)
    assert found.dtype == np.float32
    assert np.array_equal(found, vectors.astype(np.float32))
    keys = csv.read_csv(tmp_path / "out.keys.csv")
    assert keys.column("id").to_pylist() == [3 * row + 1 for row in range(7)]
    assert keys.column("label").to_pylist()[5] == "a,b"
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.keys.csv", "out.npy"]


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [("out.txt", 2, "must end in .parquet or .npy."), ("none/out.npy", 1, "cannot be written")],
)
def test_invalid_arguments_are_reported_in_one_sentence(storage, tmp_path, file, code, message):
    said = run(storage, tmp_path / file, code=code)
    assert message in said
    assert "Traceback" not in said


@pytest.fixture
def with_files(storage, tmp_path, monkeypatch):
    """The collection, with a file for each of its images."""
    monkeypatch.setattr(View, "uris", lambda self, rows: [str(tmp_path / f"{9 - row}.jpg") for row in rows.tolist()])
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    return storage


def test_fiftyone_export_is_ordered_by_path(with_files, vectors, tmp_path):
    folder = tmp_path / "fo"
    told = json.loads(run(with_files, folder, "--fiftyone", "--json"))
    assert told == {
        "space": "tiny",
        "rows": 7,
        "dim": 4,
        "files": [str(folder / "labels.json"), str(folder / "embeddings.npy")],
    }
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    # Row 6 is the file 3.jpg, and so on down to row 0, 9.jpg.
    assert list(labels) == [str(tmp_path / f"{number}.jpg") for number in range(3, 10)]
    assert [one["label"] for one in labels.values()] == ["c", "a,b", "b", "a", "b", "unlabeled", "a"]
    assert labels[str(tmp_path / "9.jpg")]["attributes"] == {"key": "00001.jpg", "image_id": 1}
    found = np.load(folder / "embeddings.npy", allow_pickle=False)
    assert np.array_equal(found, vectors[::-1].astype(np.float32))


def test_fiftyone_opens_files_alone(storage, with_files, tmp_path):
    (tmp_path / "5.jpg").unlink()
    said = run(storage, tmp_path / "fo", "--fiftyone", code=2)
    assert "5.jpg is not a file. Write the images into a folder, for example with lookalike sort" in said
    assert not (tmp_path / "fo").exists()


def test_fiftyone_needs_a_folder_of_its_own(with_files, tmp_path):
    assert "is not an empty folder; name a new one." in run(with_files, tmp_path, "--fiftyone", code=2)
