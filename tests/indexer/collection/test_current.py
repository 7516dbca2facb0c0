"""The clustering that answers by default, and the note about images that it lacks."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.cli.matrix import matrix
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.current import clustering_called
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotFoundError


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def clustered_by(storage, *arguments):
    return json.loads(run(cluster, storage.root, "--json", *arguments).stdout)["clustering"]


def matrix_of(storage, *arguments):
    """Return the clustering that `lookalike matrix` used."""
    return json.loads(run(matrix, "--collection", storage.root, "--json", *arguments).stdout)


def labeled(make_collection, clustered):
    return make_collection(clustered(30, 8, 4), labels=["a", "b", "c"] * 10)


def test_automatic_clustering_is_named_auto_for_any_k(make_collection, clustered, grow_collection):
    storage = make_collection(clustered(30, 8, 4))
    assert clustered_by(storage) == "tiny/auto"
    small = CollectionReader.open(str(storage.root)).clustering("tiny/auto").k
    grow_collection(storage, clustered(200, 8, 4, seed=1))
    assert clustered_by(storage) == "tiny/auto"
    reader = CollectionReader.open(str(storage.root))
    assert list(reader.manifest.clusterings) == ["tiny/auto"]
    assert reader.clustering("tiny/auto").k > small
    assert reader.clustering("tiny/auto").rows == 230


def test_names_state_the_unusual_and_can_be_set(make_collection, clustered):
    storage = make_collection(clustered(30, 8, 4))
    assert clustered_by(storage, "--metric", "l2", "--spherical") == "tiny/auto-spherical-l2"
    assert clustered_by(storage, "--clusters", 3) == "tiny/k3"
    assert clustered_by(storage, "--clusters", 3, "--name", "mine") == "tiny/mine"


def test_current_clustering_answers_not_the_first_by_name(make_collection, clustered, grow_collection):
    """Regression: `matrix` used k2 of 30 images while k4 of 35 was available."""
    storage = labeled(make_collection, clustered)
    clustered_by(storage, "--clusters", 2)
    grow_collection(storage, clustered(5, 8, 4, seed=1))
    clustered_by(storage, "--clusters", 4)
    assert matrix_of(storage)["settings"]["clustering"] == "tiny/k4"


def test_newest_clustering_is_current_regardless_of_its_name(make_collection, clustered):
    storage = labeled(make_collection, clustered)
    for k in (9, 10):
        clustered_by(storage, "--clusters", k)
        assert matrix_of(storage)["settings"]["clustering"] == f"tiny/k{k}"
    clustered_by(storage, "--clusters", 9)
    assert matrix_of(storage)["settings"]["clustering"] == "tiny/k9"


def test_name_alone_means_the_clustering_of_the_default_space_or_the_only_one(make_collection, clustered):
    storage = labeled(make_collection, clustered)
    for k in (2, 3):
        clustered_by(storage, "--clusters", k)
    manifest = CollectionReader.open(str(storage.root)).manifest
    two = manifest.clusterings["tiny/k2"]
    more = {f"other/{name}": dataclasses.replace(two, space="other", name=name) for name in ("k2", "k7")}
    both = dataclasses.replace(manifest, clusterings={**manifest.clusterings, **more})
    elsewhere = dataclasses.replace(both, default_space="third")
    assert [clustering_called(both, name) for name in ("k2", "k7", "other/k2", "k9")] == [
        "tiny/k2",
        "other/k7",
        "other/k2",
        "k9",
    ]
    # Two spaces have a clustering of this name, and neither is the default space.
    assert [clustering_called(elsewhere, name) for name in ("k2", "k3")] == ["k2", "tiny/k3"]
    reader = CollectionReader.open(str(storage.root))
    assert reader.clustering_name("k2") == "tiny/k2"
    assert reader.clustering("k2").k == 2
    with pytest.raises(NotFoundError, match="has no clustering 'k9'; it has: tiny/k2, tiny/k3"):
        reader.clustering("k9")


def test_clustering_of_all_images_is_preferred_to_a_newer_partial_one(make_collection, clustered, grow_collection):
    storage = labeled(make_collection, clustered)
    for k in (5, 2):
        clustered_by(storage, "--clusters", k)
    grow_collection(storage, clustered(5, 8, 4, seed=1))
    clustered_by(storage, "--clusters", 5)
    assert matrix_of(storage)["settings"]["clustering"] == "tiny/k5"


def test_partial_clustering_is_reported_with_the_remedy(make_collection, clustered, grow_collection):
    storage = labeled(make_collection, clustered)
    clustered_by(storage, "--clusters", 3)
    assert not [told for told in matrix_of(storage)["findings"] if "update it with" in told]
    grow_collection(storage, clustered(5, 8, 4, seed=1))
    [told] = [told for told in matrix_of(storage)["findings"] if "update it with" in told]
    assert told.startswith("The clustering tiny/k3 covers 30 of 35 images; update it with: lookalike cluster ")
    run(cluster, *told.split("lookalike cluster ")[1].split())
    assert not [told for told in matrix_of(storage)["findings"] if "update it with" in told]


def test_running_a_command_again_publishes_nothing(make_collection, clustered):
    storage = make_collection(clustered(30, 8, 4))
    for _ in range(2):
        clustered_by(storage)
        run(build, storage.root)
    assert generations.numbers(storage)[-1] == 3


def test_space_can_have_several_indexes_and_the_newest_is_the_default(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 4))
    run(build, storage.root)
    run(build, storage.root, "--index", "ivf-sq8", "--nlist", 2, "--name", "fast")
    reader = CollectionReader.open(str(storage.root))
    assert sorted(reader.manifest.indexes) == ["tiny/fast", "tiny/main"]
    assert reader.index().name == "fast"
    assert reader.index(name="main").factory == "Flat"
    run(build, storage.root)
    assert CollectionReader.open(str(storage.root)).index().name == "main"


@pytest.mark.parametrize("name", ["a/b", ""])
def test_invalid_index_name_is_rejected(make_collection, clustered, name):
    storage = make_collection(clustered(30, 8, 4))
    result = CliRunner().invoke(build, [str(storage.root), "--name", name])
    assert result.exit_code == 2
    assert "cannot be the name of an index" in result.output
