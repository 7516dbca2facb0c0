from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.cli.cluster_options import cluster_settings
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.storage import Storage


def run(*arguments):
    return CliRunner().invoke(cluster, [str(argument) for argument in arguments])


def test_clustering_is_published_and_reported(make_collection, clustered):
    storage = make_collection(clustered(200, 8, 4))
    result = run(storage.root, "--clusters", 4, "--restarts", 5)
    assert result.exit_code == 0, result.output
    assert "tiny/k4: 200 images in 4 clusters (as requested)" in result.output
    assert "generation 2" in result.output
    assert generations.require_latest(storage).clusterings["tiny/k4"].restarts == 5


def test_json_for_machines(make_collection, clustered):
    storage = make_collection(clustered(200, 8, 4), labels=["a", "b", "c", "d"] * 50)
    result = run(storage.root, "--json", "--spherical", "--name", "mine", "--seed", 3, "--iterations", 2)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["clustering"], told["k"], told["reason"]) == ("tiny/mine", 4, "the number of labels")
    assert sum(told["sizes"]) == told["images"] == told["trained_on"] == 200
    assert len(told["inertia"]) == 2
    assert told["generation"] == 2


def test_running_again_publishes_nothing(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    assert run(storage.root, "--clusters", 4).exit_code == 0
    again = run(storage.root, "--clusters", 4, "--json")
    assert json.loads(again.stdout)["generation"] == 2
    assert json.loads(again.stdout)["reused_files"] == 2
    assert generations.numbers(storage) == [1, 2]


def test_all_spaces_are_clustered_as_one_generation(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    made = generations.require_latest(storage)
    spaces = {**made.spaces, "again": made.spaces["tiny"]}
    generations.publish(storage, dataclasses.replace(made, spaces=spaces))
    result = run(storage.root, "--space", "all", "--clusters", 4, "--json")
    assert result.exit_code == 0, result.output
    assert [one["clustering"] for one in json.loads(result.stdout)] == ["again/k4", "tiny/k4"]
    assert generations.numbers(storage) == [1, 2, 3]
    assert set(generations.require_latest(storage).clusterings) == {"again/k4", "tiny/k4"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--clusters", "0"], 2, "0 is not in the range"),
        (["--clusters", "61"], 2, "the space tiny has only 60 images"),
        (["--space", "huge"], 1, "no space 'huge'; it has: tiny"),
        (["--name", "a/b"], 2, "cannot be the name of a clustering"),
        (["--gpus", "64"], 1, "--gpus 64"),
        (["--gpus", "first"], 2, "neither 'all' nor GPU numbers"),
        (["--metric", "dot"], 2, "--metric"),
    ],
)
def test_errors_have_one_sentence(make_collection, clustered, arguments, code, message):
    storage = make_collection(clustered(60, 8, 4))
    result = run(storage.root, *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert generations.numbers(storage) == [1]


def test_folder_without_a_collection_is_not_made_into_one(tmp_path):
    result = run(tmp_path / "nothing")
    assert result.exit_code == 1
    assert "holds no collection" in result.output
    assert not (tmp_path / "nothing").exists()


def test_another_writer_is_waited_for_by_the_person(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    with writing(Storage(storage.root)):
        result = run(storage.root)
    assert result.exit_code == 1
    assert "Another process is writing to" in result.output


def test_settings_of_a_command_with_other_stages_options():
    options = {
        "clusters": 5, "spherical": True, "iterations": 7, "restarts": 2, "points_per_centroid": 99,
        "index": "flat", "model": "resnet152", "metric": "l2", "seed": 3, "gpus": "",
    }  # fmt: skip
    assert cluster_settings(**options) == ClusterSettings(
        clusters=5, metric="l2", strategy="spherical", seed=3, iterations=7, restarts=2, points_per_centroid=99
    )
