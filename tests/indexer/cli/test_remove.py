from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.cli.gc import gc
from lookalike_indexer.cli.matrix import matrix
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def storage(make_collection, clustered):
    """Two models with a space each; k3, auto and two indexes in the first, one of each in the second."""
    storage = make_collection(clustered(60, 8, 4), labels=["a", "b"] * 30)
    made = generations.require_latest(storage)
    second = dataclasses.replace(made.spaces["tiny"], model="other")
    generations.publish(
        storage,
        dataclasses.replace(
            made,
            spaces={**made.spaces, "other": second},
            models={**made.models, "other": made.models["tiny"]},
        ),
    )
    run(cluster, storage.root, "--clusters", 3)
    run(cluster, storage.root)
    run(cluster, storage.root, "--space", "other")
    run(build, storage.root)
    run(build, storage.root, "--name", "fast", "--index", "ivf-sq8", "--nlist", 2)
    run(build, storage.root, "--space", "other")
    run(matrix, "--collection", storage.root, "--keep", "first")
    run(matrix, "--collection", storage.root, "--clustering", "other/auto", "--keep", "second")
    return storage


def latest(storage):
    return generations.require_latest(storage)


def test_removed_defaults_are_replaced_by_the_next_ones(storage):
    told = run(remove, storage.root, "--clustering", "tiny/auto", "--index", "tiny/fast").output
    assert "removed the clustering tiny/auto" in told
    assert "tiny/k3 is the current clustering of tiny now." in told
    assert "tiny/main is the current index of tiny now." in told
    assert sorted(latest(storage).clusterings) == ["other/auto", "tiny/k3"]
    assert sorted(latest(storage).indexes) == ["other/main", "tiny/main"]
    found = json.loads(run(matrix, "--collection", storage.root, "--json").stdout)
    assert found["settings"]["clustering"] == "tiny/k3"


def test_removing_another_clustering_keeps_the_defaults(storage):
    told = json.loads(run(remove, storage.root, "--clustering", "tiny/k3", "--json").stdout)
    assert told["clusterings"] == ["tiny/k3"]
    assert told["notes"] == []
    assert told["generation"] == latest(storage).generation


def test_removing_a_space_removes_its_results_and_changes_the_default(storage):
    told = json.loads(run(remove, storage.root, "--space", "tiny", "--json").stdout)
    assert told["spaces"] == ["tiny"]
    assert told["clusterings"] == ["tiny/auto", "tiny/k3"]
    assert told["indexes"] == ["tiny/fast", "tiny/main"]
    assert told["results"] == ["class_matrix/first"]
    assert told["notes"] == ["other is the default space now."]
    manifest = latest(storage)
    assert (list(manifest.spaces), sorted(manifest.models)) == (["other"], ["other", "tiny"])
    assert CollectionReader.open(str(storage.root)).clustering_name() == "other/auto"


def test_removing_a_model_removes_its_spaces(storage):
    told = json.loads(run(remove, storage.root, "--model", "other", "--json").stdout)
    assert (told["models"], told["spaces"], told["results"]) == (["other"], ["other"], ["class_matrix/second"])
    assert list(latest(storage).spaces) == ["tiny"]


def test_files_go_with_gc(storage):
    entry = latest(storage).clusterings["tiny/k3"]
    run(remove, storage.root, "--clustering", "tiny/k3", "--result", "class_matrix/first")
    assert storage.exists(entry.centroids)
    run(gc, storage.root, "--keep", 1)
    assert not storage.exists(entry.centroids)
    assert all(storage.exists(path) for path in latest(storage).files)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Name what to remove"),
        (["--clustering", "tiny/k9"], 1, "no clustering 'tiny/k9'; it has: other/auto, tiny/auto, tiny/k3"),
        (["--index", "main"], 1, "no index 'main'; it has: other/main, tiny/fast, tiny/main"),
        (["--space", "tiny", "--model", "other"], 2, "Without other, tiny the collection would have no space"),
    ],
)
def test_mistakes_change_nothing(storage, arguments, code, message):
    before = latest(storage)
    result = CliRunner().invoke(remove, [str(storage.root), *arguments])
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert latest(storage) == before
