from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.classes import class_accuracies
from lookalike_indexer.experiments.view import View

TENCH, CRANE = 0, 517


@pytest.fixture
def storage(make_collection, publish_model) -> Storage:
    """Two images each of three labels, of which one is no class, and one image without a label."""
    labels = ["tench", "tench", "n02012849_crane", "n02012849_crane", "gnu", "gnu", None]
    storage = make_collection(np.eye(7, dtype=np.float32), labels=labels)
    publish_model(storage, "a", [[TENCH, 5], [TENCH, 5], [CRANE, 5], [5, CRANE], [5, 6], [5, 6], [5, 6]])
    publish_model(storage, "b", [[TENCH, 5], [5, 6], [CRANE, 5], [CRANE, 5], [5, 6], [5, 6], [TENCH, 6]])
    return storage


def view_of(storage: Storage) -> View:
    return View(CollectionReader.open(str(storage.root)))


def test_accuracies_by_class_and_model(storage):
    result = class_accuracies(view_of(storage))
    lines = result.tables["accuracies"].to_pylist()
    assert [(line["label"], line["model"], line["images"], line["top1"], line["top5"]) for line in lines] == [
        ("n02012849_crane", "a", 2, 0.5, 1.0),
        ("n02012849_crane", "b", 2, 1.0, 1.0),
        ("tench", "a", 2, 1.0, 1.0),
        ("tench", "b", 2, 0.5, 0.5),
    ]
    assert [line["class"] for line in lines] == ["crane", "crane", "tench", "tench"]
    assert [line["rule"] for line in lines] == ["without WordNet number"] * 2 + ["same name"] * 2
    assert result.tables["unmapped"].to_pylist() == [
        {"model": "a", "label": "gnu", "images": 2},
        {"model": "b", "label": "gnu", "images": 2},
    ]
    assert (result.figures["a.top1"], result.figures["b.top1"], result.figures["b.top5"]) == (0.75, 0.75, 0.75)
    assert result.findings[0] == "a: top-1 0.750, top-5 1.000 over 4 images of 2 labels."
    assert result.findings[1].startswith("Left out, because they are no classes of a: gnu;")


def test_best_classes_of_every_model(storage):
    view = view_of(storage)
    everything = class_accuracies(view).tables["best"].to_pydict()
    assert everything["label"] == ["n02012849_crane", "tench"]
    assert everything["lowest"] == [0.5, 0.5]
    # The best class of model a is not that of model b.
    first = class_accuracies(view, best=1)
    assert first.tables["best"].num_rows == 0
    assert first.findings[-1] == "0 classes are in the best 1 by top1 of all of a, b: none."
    # By top-5 both classes of a tie, and crane is the best of b.
    tied = class_accuracies(view, ["b", "a"], metric="top5", best=1)
    assert tied.tables["best"].column("label").to_pylist() == ["n02012849_crane"]
    assert tied.settings["models"] == ["b", "a"]


def test_class_map_assigns_labels_to_classes(storage):
    result = class_accuracies(view_of(storage), ["a"], class_map={"gnu": ["5", "goldfish"]})
    gnu = next(line for line in result.tables["accuracies"].to_pylist() if line["label"] == "gnu")
    assert (gnu["class"], gnu["rule"], gnu["top1"]) == ("goldfish or electric ray", "class map", 1.0)
    assert result.tables["unmapped"].num_rows == 0


def test_missing_data_is_named_in_the_error(make_collection, publish_model, storage):
    with pytest.raises(NotBuiltError, match="No image of the collection bare has a label"):
        class_accuracies(view_of(make_collection(np.eye(2, dtype=np.float32), name="bare")))
    labeled = make_collection(np.eye(2, dtype=np.float32), labels=["gnu", "gnu"], name="labeled")
    with pytest.raises(NotBuiltError, match="No model of the collection labeled keeps predictions"):
        class_accuracies(view_of(labeled))
    publish_model(labeled, "a", [[0, 1], [0, 1]])
    with pytest.raises(
        NotBuiltError, match=r"No label of the collection labeled is the name of a class of a \(labels: gnu"
    ):
        class_accuracies(view_of(labeled))
    with pytest.raises(NotFoundError, match="has no model 'c'; it has: a, b, tiny"):
        class_accuracies(view_of(storage), ["c"])
    with pytest.raises(NotBuiltError, match="keeps no predictions of the model tiny"):
        class_accuracies(view_of(storage), ["tiny"])
    with pytest.raises(UsageError, match="--best 0"):
        class_accuracies(view_of(storage), best=0)
