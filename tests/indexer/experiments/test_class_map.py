from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.experiments.class_map import class_map, read_class_map
from lookalike_indexer.experiments.view import View

LABELS = ["n02979186_cassette_player", "Cardigan", "crane", "french-horn", "gnu", None]


@pytest.fixture
def view(make_collection) -> View:
    """One image for each label, with predictions of ImageNet's classes."""
    storage = make_collection(np.eye(6, dtype=np.float32), labels=LABELS)
    manifest = generations.require_latest(storage)
    return View(CollectionReader(storage, trained(manifest)))


def trained(manifest: Manifest) -> Manifest:
    import dataclasses

    entry = manifest.models["tiny"]
    weights = dataclasses.replace(entry.spec.weights, kind="imagenet")
    spec = dataclasses.replace(entry.spec, weights=weights)
    return dataclasses.replace(manifest, models={"tiny": dataclasses.replace(entry, spec=spec)})


def test_labels_are_classes_of_the_same_name(view):
    found = class_map(view, "tiny")
    classes = {name: found.classes_of(code) for code, name in enumerate(view.label_names)}
    assert classes == {
        "n02979186_cassette_player": [482],
        "Cardigan": [264],  # the dog; the garment is "cardigan"
        "crane": [517],  # the machine
        "french-horn": [566],
        "gnu": [],
    }
    assert found.unmapped == ["gnu"]
    assert dict(zip(view.label_names, found.rules, strict=True)) == {
        "n02979186_cassette_player": "without WordNet number",
        "Cardigan": "same name",
        "crane": "same name",
        "french-horn": "but for case and punctuation",
        "gnu": "",
    }
    assert [view.label_names[code] for code in found.labels_of(517)] == ["crane"]
    assert found.classes_of(-1) == []


def test_images_without_a_label_or_prediction_are_not_hits(view):
    found = class_map(view, "tiny")
    crane = view.label_code("crane")
    labels = np.array([crane, crane, -1], np.int32)
    classes = np.array([[1, 517], [-1, -1], [517, 0]], np.int32)
    assert found.hits(labels, classes).tolist() == [[False, True], [False, False], [False, False]]


def test_collection_without_labels_has_no_hits(make_collection):
    storage = make_collection(np.eye(3, dtype=np.float32))
    found = class_map(View(CollectionReader.open(str(storage.root))), "tiny")
    assert not found.hits(np.full(3, -1, np.int32), np.zeros((3, 2), np.int32)).any()


def test_class_map_goes_before_matching_names(view, tmp_path: Path):
    path = tmp_path / "map.csv"
    path.write_text("label,class\ngnu,hartebeest\ngnu,344\ncrane,134\n")
    found = class_map(view, "tiny", read_class_map(path))
    assert found.classes_of(view.label_code("gnu")) == [344, 351]
    assert found.classes_of(view.label_code("crane")) == [134]
    assert found.unmapped == []


def test_mistakes_in_a_class_map_are_named(view, tmp_path: Path):
    path = tmp_path / "map.csv"
    with pytest.raises(NotFoundError, match="The model tiny has no class 'wildebeest'"):
        class_map(view, "tiny", {"gnu": ["wildebeest"]})
    with pytest.raises(UsageError, match="cannot be read"):
        read_class_map(path)
    path.write_text("name,class\na,b\n")
    with pytest.raises(UsageError, match="the columns label and class"):
        read_class_map(path)
    path.write_text("label,class\ngnu,\n")
    with pytest.raises(UsageError, match="line 2 without a label or a class"):
        read_class_map(path)


def test_class_map_can_say_that_a_thousand_classes_are_imagenets(make_collection):
    storage = make_collection(np.eye(2, dtype=np.float32), labels=["fish", "crane"])
    view = View(CollectionReader.open(str(storage.root)))
    assert class_map(view, "tiny").names[0] == "class 0"
    assert class_map(view, "tiny", {"fish": ["0"]}).names[0] == "class 0"
    mapped = class_map(view, "tiny", {"fish": ["tench", "1"]})
    assert (mapped.names[0], mapped.classes_of(view.label_code("fish"))) == ("tench", [0, 1])
    # With the names other labels are classes, too.
    assert mapped.classes_of(view.label_code("crane")) == [517]
