from __future__ import annotations

import numpy as np
import pytest

from lookalike_benchmarks import in_memory, trainers
from lookalike_benchmarks.synthetic import write_collection
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent

SMALL = ["--set", "rounds=1", "--set", "rows=500", "--set", "stream_rows=600"]


def test_all_libraries_start_and_end_with_similar_inertia(bench):
    rows = {row["case"]: row for row in bench("kmeans", "--set", "stream_rows=600")}
    names = ["lookalike", "faiss.Kmeans", "scikit-learn KMeans", "scikit-learn MiniBatchKMeans"]
    ours, *others = (rows[f"{name} k 8"] for name in names)
    assert {row["params"]["iterations"] for row in [ours, *others[:2]]} == {5}
    assert others[1]["params"]["assignments"] == 6
    for row in [ours, *others]:
        assert (row["params"]["rows"], row["params"]["dim"], row["params"]["k"]) == (2000, 64, 8)
        assert row["params"]["torch_threads"] >= 1
        assert row["measured"]["seconds"] > row["measured"]["seconds_per_assignment"]
    for row in others[:2]:
        assert row["measured"]["inertia"] == pytest.approx(ours["measured"]["inertia"], rel=1e-3)
    assert others[2]["measured"]["inertia"] == pytest.approx(ours["measured"]["inertia"], rel=0.1)
    for name in names[1:]:
        measured = rows[f"lookalike over {name} k 8"]["measured"]
        assert measured["speedup_min"] <= measured["speedup"] <= measured["speedup_max"]
        assert measured["inertia_ratio"] < 1.01


def test_parts_are_measured_against_an_array(bench):
    rows = {row["case"]: row for row in bench("kmeans", "--set", "rounds=1", "--set", "rows=500")}
    for work in ("cluster", "build"):
        row = rows[f"{work} over Parquet parts"]
        measured = row["measured"]
        assert row["params"]["rows"] == 3000
        assert measured["ratio_median"] == pytest.approx(measured["parts_seconds"] / measured["array_seconds"])


def test_several_k_are_several_cases(bench):
    cases = {row["case"] for row in bench("kmeans", "--set", "k=4,6", *SMALL)}
    assert {"lookalike k 4", "lookalike k 6"} <= cases


def test_missing_gpus_are_left_out_and_reported(invoke):
    result = invoke("kmeans", "--gpus", "0,64", *SMALL)
    assert result.exit_code == 0
    assert "64 GPUs are left out" in result.output
    assert ", 64 GPUs:" not in result.output


@pytest.mark.parametrize(
    ("option", "said"),
    [("row=5", "--set row: this suite has dim, iterations, k, "), ("rows=many", "'many' is not a number from 1 up")],
)
def test_unknown_parameter_is_rejected(invoke, option, said):
    result = invoke("kmeans", "--set", option)
    assert result.exit_code == 2
    assert said in result.output


def test_start_equals_lookalike():
    vectors = Clustered(rows=600, dim=16, clusters=10).all()
    task = trainers.Task.started(vectors, 6, 4, seed=3)
    ours = train(vectors, 6, ClusterSettings(iterations=4, restarts=1, seed=3), Silent())
    assert trainers.inertia(vectors, task.start) == pytest.approx(ours.inertia[0], rel=1e-5)
    assert trainers.inertia(vectors, ours.centroids) < ours.inertia[0]


def test_inertia_by_its_definition():
    vectors, centroids = np.array([[0, 0], [0, 1], [4, 4]], np.float32), np.array([[0, 0], [4, 3]], np.float32)
    assert trainers.inertia(vectors, centroids) == pytest.approx(0 + 1 + 1)


def test_index_over_array_equals_index_over_parts(tmp_path):
    vectors = Clustered(rows=2500, dim=16)
    write_collection(str(tmp_path / "collection"), vectors)
    storage, elsewhere = Storage(tmp_path / "collection"), Storage(tmp_path / "array")
    draft, settings = generations.require_latest(storage), BuildSettings(index="flat")
    entry = run_build(storage, draft, settings, Silent())[1].entry
    in_memory.build_index(in_memory.ArrayReader(elsewhere, draft, vectors.all()), settings)
    (built,) = elsewhere.root.rglob("*.faiss")
    assert built.read_bytes() == storage.read(entry.path)
