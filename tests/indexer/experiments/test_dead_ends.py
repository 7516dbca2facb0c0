"""A collection whose first model is untrained: errors name what is available instead."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.classes import class_accuracies
from lookalike_indexer.experiments.explain import explain
from lookalike_indexer.experiments.image_clusters import image_clusters
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.mistakes import mistakes
from lookalike_indexer.experiments.view import View


@pytest.fixture
def storage(make_collection, publish_predictions, publish_model, publish_space) -> Storage:
    """The untrained model "tiny" with predictions, the trained model "good", and a second space."""
    storage = make_collection(np.eye(4, dtype=np.float32), labels=["tench", "tench", "gnu", "gnu"])
    publish_predictions(storage, [["class 3", "class 5"]] * 4)
    publish_model(storage, "good", [[0, 5], [0, 5], [5, 0], [5, 6]])
    publish_space(storage, "other", np.arange(4) * 3 + 1, np.eye(4, dtype=np.float32))
    return storage


def view_of(storage: Storage) -> View:
    return View(CollectionReader.open(str(storage.root)))


def test_space_without_clustering_offers_those_there_are(storage, publish_clustering):
    with pytest.raises(NotBuiltError, match=r"make one with: lookalike cluster \S+ --space tiny$"):
        class_matrix(view_of(storage))
    publish_clustering(storage, [0, 0, 1, 1], space="other")
    with pytest.raises(NotBuiltError, match=r"--space tiny; or name one that there is: other/made$"):
        class_matrix(view_of(storage))


def test_space_without_index_offers_those_that_have_one(storage):
    with pytest.raises(NotBuiltError, match=r"build one with: lookalike build \S+ --space tiny$"):
        view_of(storage).reader.index()


def test_untrained_model_offers_the_trained_one(storage):
    view = view_of(storage)
    offered = "tiny is of random weights and knows no classes: embed with trained weights; or name a model that was "
    with pytest.raises(NotBuiltError, match=f"{offered}trained: good"):
        mistakes(view, "tiny")
    assert any(f"{offered}trained: good." in told for told in explain(view, 0).findings)
    with pytest.raises(NotBuiltError, match=offered):
        class_accuracies(view, ["tiny"])


def test_model_without_matching_labels_is_left_out(storage):
    found = class_accuracies(view_of(storage))
    assert found.settings["models"] == ["good"]
    assert any(told.startswith("Left out: No label of the collection") for told in found.findings)


def test_model_without_predictions_offers_those_that_have_some(make_collection, publish_model):
    storage = make_collection(np.eye(2, dtype=np.float32), labels=["tench", "tench"])
    publish_model(storage, "good", [[0, 5], [0, 5]])
    with pytest.raises(NotBuiltError, match="embed with weights that have one; or name a model that has one: good"):
        mistakes(view_of(storage), "tiny")


def test_spaces_without_a_clustering_are_named_beside_those_that_have_one(storage, publish_clustering):
    publish_clustering(storage, [0, 0, 1, 1], space="other")
    found = image_clusters(view_of(storage), 0)
    assert any(
        told.startswith("Without a clustering: tiny; make them with: lookalike cluster") for told in found.findings
    )
