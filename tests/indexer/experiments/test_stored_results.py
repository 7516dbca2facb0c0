from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.map2d import map2d
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.mistakes import mistakes
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Silent


def view_of(storage: Storage) -> View:
    return View(CollectionReader.open(str(storage.root)))


def cluster(storage: Storage, clusters: int, name: str) -> None:
    draft, _ = run_cluster(storage, generations.require_latest(storage), ClusterSettings("", clusters, name), Silent())
    generations.publish(storage, draft)


@pytest.fixture
def storage(make_collection, publish_model, clustered) -> Storage:
    """A collection with a stored map, a matrix, and mistakes of its one model."""
    storage = make_collection(clustered(12, 4, 3), labels=["tench", "goldfish", "tench"] * 4)
    publish_model(storage, "tiny", [[0, 1]] * 12)
    cluster(storage, 3, "three")
    for result in (map2d(view_of(storage)), class_matrix(view_of(storage), "tiny/three"), mistakes(view_of(storage))):
        stored_results.store_result(CollectionReader.open(str(storage.root)), "kept", result)
    return storage


def out_of_date(storage: Storage) -> dict[str, bool]:
    manifest = generations.require_latest(storage)
    return {name: stored_results.out_of_date(manifest, name) for name in manifest.results}


def test_new_clustering_outdates_only_results_that_read_it(storage):
    assert not any(out_of_date(storage).values())
    cluster(storage, 2, "two")
    assert out_of_date(storage) == {"map/kept": False, "class_matrix/kept": False, "mistakes/kept": False}
    cluster(storage, 2, "three")
    assert out_of_date(storage) == {"map/kept": False, "class_matrix/kept": True, "mistakes/kept": False}


def test_more_images_make_everything_out_of_date(storage, grow_collection):
    grow_collection(storage, np.ones((2, 4), np.float32))
    assert all(out_of_date(storage).values())
