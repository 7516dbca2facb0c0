from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pyarrow import csv

from lookalike_indexer.cli.export import export


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


def test_an_array_has_its_keys_beside_it(storage, vectors, tmp_path):
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
def test_mistakes_are_one_sentence(storage, tmp_path, file, code, message):
    said = run(storage, tmp_path / file, code=code)
    assert message in said
    assert "Traceback" not in said
