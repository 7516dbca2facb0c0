from __future__ import annotations

import math

import numpy as np
import pytest

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.mistakes import mistakes
from lookalike_indexer.experiments.view import View

TENCH, CRANE = 0, 517


@pytest.fixture
def storage(make_collection, publish_model) -> Storage:
    """Three tenches, two cranes, two gnus, which ImageNet does not have, and one image without a label."""
    labels = ["tench", "tench", "tench", "n02012849_crane", "n02012849_crane", "gnu", "gnu", None]
    storage = make_collection(np.eye(8, dtype=np.float32), labels=labels)
    publish_model(
        storage, "a", [[TENCH, 5], [CRANE, TENCH], [5, 6], [CRANE, 5], [5, CRANE], [5, 6], [TENCH, 6], [5, 6]]
    )
    return storage


def view_of(storage: Storage) -> View:
    return View(CollectionReader.open(str(storage.root)))


def test_each_label_is_counted_by_predicted_class(storage):
    found = mistakes(view_of(storage), "a")
    cells = found.tables["confusion"].to_pylist()
    assert [(cell["label"], cell["class_index"], cell["count"], cell["right"]) for cell in cells] == [
        ("n02012849_crane", 5, 1, False),
        ("n02012849_crane", CRANE, 1, True),
        ("tench", TENCH, 1, True),
        ("tench", 5, 1, False),
        ("tench", CRANE, 1, False),
    ]
    lines = found.tables["labels"].to_pylist()
    assert [(line["label"], line["images"], line["wrong"]) for line in lines] == [
        ("tench", 3, 2),
        ("n02012849_crane", 2, 1),
    ]
    assert (found.figures["images"], found.figures["wrong"], found.figures["accuracy"]) == (5, 3, 0.4)


def test_most_confident_mistake_comes_first(make_collection, publish_model):
    storage = make_collection(np.eye(3, dtype=np.float32), labels=["tench"] * 3)
    publish_model(storage, "a", [[5, TENCH], [6, 7], [TENCH, 5]])
    found = mistakes(view_of(storage), "a").tables["mistakes"].to_pylist()
    assert [(line["rank"], line["key"], line["label"], line["class_index"], line["probability"]) for line in found] == [
        (1, "00001.jpg", "tench", 5, 0.5),
        (2, "00004.jpg", "tench", 6, 0.5),
    ]
    assert (found[0]["label_rank"], found[0]["label_probability"]) == (2, 0.25)
    assert found[1]["label_rank"] == 0
    assert math.isnan(found[1]["label_probability"])


def test_images_that_cannot_be_judged_are_counted_and_told(storage):
    found = mistakes(view_of(storage), "a")
    assert (found.figures["unmapped"], found.figures["unlabelled"], found.figures["unseen"]) == (2, 1, 0)
    assert found.tables["unmapped"].to_pylist() == [{"label": "gnu", "images": 2}]
    assert any(told.startswith("Left out: 2 images, because these labels name no class") for told in found.findings)
    assert "Left out: 1 image without a label." in found.findings
    mapped = mistakes(view_of(storage), "a", class_map={"gnu": ["5"]})
    assert (mapped.figures["images"], mapped.figures["unmapped"]) == (7, 0)
    assert [line["key"] for line in mapped.tables["mistakes"].to_pylist()].count("00019.jpg") == 1


def test_one_label_and_a_short_list(storage):
    found = mistakes(view_of(storage), "a", label="tench", limit=1)
    assert found.tables["mistakes"].num_rows == 1
    assert found.figures["wrong"] == 2
    assert "Listed is the mistake that it is most confident of." in found.findings
    assert found.figures["unlabelled"] == 0


def test_missing_data_is_named_in_the_error(storage, make_collection, publish_model):
    with pytest.raises(NotBuiltError, match=r"The label gnu is not the name of a class of a \(classes: "):
        mistakes(view_of(storage), "a", label="gnu")
    with pytest.raises(NotFoundError, match="has the label 'cow'"):
        mistakes(view_of(storage), "a", label="cow")
    with pytest.raises(NotBuiltError, match="keeps no predictions of the model tiny"):
        mistakes(view_of(storage))
    with pytest.raises(UsageError, match="--limit 0"):
        mistakes(view_of(storage), "a", limit=0)
    bare = make_collection(np.eye(2, dtype=np.float32), name="bare")
    with pytest.raises(NotBuiltError, match="has a label"):
        mistakes(view_of(bare))
