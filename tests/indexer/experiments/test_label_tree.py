from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import WeightsSpec
from lookalike_indexer.errors import MismatchError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.label_tree import label_tree
from lookalike_indexer.experiments.view import View
from lookalike_indexer.models.architecture import build
from lookalike_indexer.models.statefile import digest

# By the word vectors below: two dogs, two fish, two trucks; the last one is seen once.
DOG, COLLIE, TENCH, COHO, TOW, TRUCK = 217, 232, 0, 391, 864, 569


@pytest.fixture
def view(make_collection, publish_model) -> View:
    labels = ["dog"] * 4 + ["fish"] * 4 + ["truck"] * 3
    storage = make_collection(np.eye(11, dtype=np.float32), labels=labels)
    first = [DOG, DOG, DOG, COLLIE, TENCH, TENCH, COHO, COHO, TOW, TOW, TRUCK]
    publish_model(storage, "a", [[index, 5] for index in first])
    return View(CollectionReader.open(str(storage.root)))


@pytest.fixture
def words(view, tmp_path: Path) -> str:
    names = {DOG: "dog1", COLLIE: "dog2", TENCH: "fish1", COHO: "fish2", TOW: "truck1", TRUCK: "truck2"}
    view.predicted("a").names.update(names)
    path = tmp_path / "words.txt"
    path.write_text("dog1 9 1\ndog2 9 1.5\nfish1 1 9\nfish2 1 8\ntruck1 -5 -5\ntruck2 -5 -6\n")
    return str(path)


def test_classes_of_like_meaning_are_in_one_group(view, words):
    result = label_tree(view, model="a", word_vectors=words)
    classes = result.tables["classes"].to_pylist()
    groups: dict[int, set[str]] = {}
    for line in classes:
        groups.setdefault(line["cluster"], set()).add(line["class"])
    assert sorted(groups.values(), key=min) == [{"dog1", "dog2"}, {"fish1", "fish2"}, {"truck1", "truck2"}]
    # Groups are numbered along the tree, so that each is contiguous.
    assert [line["cluster"] for line in classes] == [0, 0, 1, 1, 2, 2]
    assert {line["class"]: line["images"] for line in classes} == {
        "dog1": 3, "dog2": 1, "fish1": 2, "fish2": 2, "truck1": 2, "truck2": 1
    }  # fmt: skip
    assert (result.figures["purity"], result.figures["ari"]) == (1.0, 1.0)
    merges = result.tables["merges"].to_pydict()
    assert merges["classes"][-1] == 6
    assert merges["height"][2] < result.figures["cut"] < merges["height"][3]
    assert (
        result.findings[0] == "6 classes that a puts first make 3 groups (the highest silhouette (cosine) of all cuts)."
    )


def test_number_of_groups_and_classes_can_be_set(view, words):
    assert label_tree(view, model="a", word_vectors=words, clusters=2).figures["clusters"] == 2
    result = label_tree(view, model="a", word_vectors=words, most=4)
    assert sorted(result.tables["classes"].column("class").to_pylist()) == ["dog1", "fish1", "fish2", "truck1"]
    assert result.figures["left_out"] == 2
    assert "2 images are left out: their classes are rarer." in result.findings


def test_classes_without_a_word_are_listed(view, words):
    Path(words).write_text("dog1 9 1\nfish1 1 9\nfish2 1 8\ntruck1 0 0\n")
    result = label_tree(view, model="a", word_vectors=words)
    # A zero vector has no direction and counts as missing.
    assert result.tables["misses"].column("class").to_pylist() == ["dog2", "truck2", "truck1"]
    assert "No word for 3 classes: dog2, truck2, truck1." in result.findings


def test_without_words_the_rows_of_the_classifier_are_compared(make_collection, publish_model, tmp_path: Path):
    storage = make_collection(np.eye(6, dtype=np.float32), labels=["a", "a", "b", "b", "c", "c"])
    module = build("squeezenet1_1", 1000, transform_input=True)
    with torch.no_grad():
        weight = module.classifier[1].weight
        weight.zero_()
        for index, axis in {1: 0, 2: 0, 3: 1, 4: 1, 5: 2, 6: 2}.items():
            weight[index, axis] = 1
            weight[index, 10 + index] = 0.1
    path = tmp_path / "weights.pth"
    torch.save(module.state_dict(), path)
    weights = WeightsSpec("file", str(path), digest(path))
    publish_model(storage, "a", [[index, 0] for index in range(1, 7)], weights)
    view = View(CollectionReader.open(str(storage.root)))
    result = label_tree(view, model="a")
    table = result.tables["classes"].sort_by("class_index").to_pydict()
    assert table["class_index"] == [1, 2, 3, 4, 5, 6]
    first, second, third = table["cluster"][::2]
    assert table["cluster"] == [first, first, second, second, third, third]
    assert len({first, second, third}) == 3
    assert result.figures["ari"] == 1.0
    assert result.settings["vectors"] == "weights"
    other = tmp_path / "other.pth"
    torch.save(build("squeezenet1_1", 1000, transform_input=True).state_dict(), other)
    with pytest.raises(MismatchError, match="give the file that it was made with"):
        label_tree(view, model="a", weights_file=str(other))


def test_missing_data_is_named_in_the_error(view, words, make_collection, publish_model):
    with pytest.raises(NotFoundError, match="has no model 'b'"):
        label_tree(view, model="b")
    with pytest.raises(NotBuiltError, match="keeps no predictions of the model tiny"):
        label_tree(view)
    with pytest.raises(NotFoundError, match="There is no word vectors file"):
        label_tree(view, model="a", word_vectors=f"{words}.none")
    with pytest.raises(UsageError, match="--clusters 6: give a number from 2 to 5, for 6 classes"):
        label_tree(view, model="a", word_vectors=words, clusters=6)
    with pytest.raises(UsageError, match="--most 2"):
        label_tree(view, model="a", most=2)
    Path(words).write_text("dog1 9 1\n")
    with pytest.raises(NotBuiltError, match="has words for 1 of the 6 classes"):
        label_tree(view, model="a", word_vectors=words)
    two = make_collection(np.eye(2, dtype=np.float32), name="two")
    publish_model(two, "a", [[1, 2], [3, 2]])
    with pytest.raises(NotBuiltError, match="a sees too few classes in the images, 2; a tree needs"):
        label_tree(View(CollectionReader.open(str(two.root))), model="a")
