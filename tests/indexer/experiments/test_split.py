from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from lookalike_indexer.charts.split import split_montages
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import IndexerError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments import split as module
from lookalike_indexer.experiments import subclusters
from lookalike_indexer.experiments.split import split_label
from lookalike_indexer.experiments.view import View

# Dogs in three groups of 6, 5 and 4; cats beside the first, cows beside the second; one image without a label.
ANGLES = np.radians([0, 1, 2, 3, 4, 5, 90, 91, 92, 93, 94, 200, 201, 202, 203, 10, 11, 12, 85, 84, 300])
LABELS = ["dog"] * 15 + ["cat"] * 3 + ["cow"] * 2 + [None]


@pytest.fixture
def view(make_collection) -> View:
    vectors = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
    lengths = np.linspace(1, 3, len(ANGLES), dtype=np.float32)
    storage = make_collection(vectors * lengths[:, None], labels=LABELS, part_rows=6)
    return View(CollectionReader.open(str(storage.root)))


def test_number_of_groups_in_a_class_is_chosen_by_silhouette(view: View):
    found = split_label(view, "dog")
    assert (found.figures["k"], found.figures["images"]) == (3, 15)
    assert found.tables["subclusters"].column("size").to_pylist() == [6, 5, 4]
    members = found.tables["members"].to_pylist()
    first = sorted(line["id"] for line in members if line["subcluster"] == 0)
    assert first == [1, 4, 7, 10, 13, 16]
    assert found.tables["ks"].column("k").to_pylist() == [2, 3, 4, 5, 6, 7, 8]
    assert any("chosen as the k with the highest silhouette" in finding for finding in found.findings)


def test_label_matches_its_everyday_form(make_collection):
    labels = ["n03028079_church", "n03028079_church", "n02012849_crane", "n03126707_crane", "Gas pump"]
    storage = make_collection(np.eye(5, dtype=np.float32), labels=labels)
    view = View(CollectionReader.open(str(storage.root)))
    assert split_label(view, "church").settings["label"] == "n03028079_church"
    assert view.label_names[view.label_code("gas_pump")] == "Gas pump"
    with pytest.raises(NotFoundError, match="'crane'; it may mean n02012849_crane, n03126707_crane"):
        view.label_code("crane")
    with pytest.raises(NotFoundError, match="'churches'; it has Gas pump, n02012849_crane"):
        view.label_code("churches")


def test_silhouettes_equal_those_of_scikit_learn(view: View):
    found = split_label(view, "dog", k=3)
    members = found.tables["members"].to_pydict()
    rows = (np.array(members["id"]) - 1) // 3
    vectors = np.stack([np.cos(ANGLES[rows]), np.sin(ANGLES[rows])], axis=1)
    expected = silhouette_samples(vectors, members["subcluster"], metric="cosine")
    np.testing.assert_allclose(members["silhouette"], expected, atol=1e-4)
    assert found.figures["silhouette"] == pytest.approx(expected.mean(), abs=1e-4)


def test_images_around_a_subcluster_are_of_other_classes(view: View):
    found = split_label(view, "dog", k=3)
    around = found.tables["subclusters"].column("around").to_pylist()
    # With six others, all are around; counts are sorted before names.
    assert around[0] == ["cat", "cow", ""]
    nearest = {line["subcluster"]: line for line in found.tables["neighbours"].to_pylist() if line["rank"] == 1}
    assert [nearest[number]["label"] for number in range(3)] == ["cat", "cow", ""]
    assert nearest[0]["distance"] == pytest.approx(1 - np.cos(np.radians(10 - 2.5)), abs=1e-4)


def test_seed_decides(view: View):
    one, two = (split_label(view, "dog", k=4, seed=5).tables["members"] for _ in range(2))
    assert one.equals(two)


def test_large_classes_are_sampled_with_a_notice(view: View, monkeypatch):
    monkeypatch.setattr(module, "_HELD", 10)
    monkeypatch.setattr(module, "MEASURED", 8)
    monkeypatch.setattr(subclusters, "MEASURED", 8)
    found = split_label(view, "dog", k=2)
    assert (found.figures["images"], found.figures["split"]) == (15, 10)
    assert found.tables["members"].num_rows == 10
    assert np.isnan(found.tables["members"].column("silhouette").to_numpy()).sum() == 2
    told = " ".join(found.findings)
    assert "a random sample of 10 was split" in told
    assert "measured on a random sample of 8 images" in told


def test_single_odd_image_is_no_group(make_collection):
    angles = np.radians([0, 1, 2, 3, 10, 11, 12, 13, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    storage = make_collection(vectors, labels=["a"] * 9)
    found = split_label(View(CollectionReader.open(str(storage.root))), "a")
    silhouettes = found.tables["ks"].column("silhouette").to_pylist()
    # By silhouette alone all others would be one group, and the opposite image the other.
    assert silhouettes[0] == max(silhouettes)
    assert found.tables["subclusters"].column("size").to_pylist() == [4, 4, 1]


@pytest.mark.parametrize("k", [0, 1, 2])
def test_equal_images_are_one_group(make_collection, k: int):
    storage = make_collection(np.ones((6, 3), np.float32), labels=["a"] * 5 + ["b"])
    found = split_label(View(CollectionReader.open(str(storage.root))), "a", k=k)
    assert found.tables["subclusters"].column("size").to_pylist() == [5]
    assert np.isnan(found.figures["silhouette"])


def test_montage_for_each_group(view: View):
    montages = dict(split_montages(split_label(view, "dog", k=3), Thumbnails(view)))
    assert list(montages) == ["dog-0", "dog-1", "dog-2"]
    gray = (np.asarray(montages["dog-0"]) == (0xE4, 0xE4, 0xE4)).all(axis=2).sum()
    assert 0.9 * 12 * 128**2 < gray < 12 * 128**2


def test_non_finite_embeddings_are_reported(make_collection):
    vectors = np.ones((4, 2), np.float32)
    vectors[2, 1] = np.nan
    storage = make_collection(vectors, labels=["a"] * 4)
    with pytest.raises(IndexerError, match="Some embeddings of a in tiny hold NaN"):
        split_label(View(CollectionReader.open(str(storage.root))), "a")


def test_invalid_arguments_are_rejected_with_a_reason(view: View, make_collection, clustered):
    with pytest.raises(NotFoundError, match="has the label 'fox'; it has cat, cow, dog"):
        split_label(view, "fox")
    with pytest.raises(UsageError, match="-k 16: the label dog has only 15 images"):
        split_label(view, "dog", k=16)
    with pytest.raises(UsageError, match="k is -1"):
        split_label(view, "dog", k=-1)
    with pytest.raises(NotFoundError, match="no space 'huge'"):
        split_label(view, "dog", "huge")
    storage = make_collection(clustered(3, 4, 1), labels=["a", "b", "b"], name="few")
    with pytest.raises(UsageError, match="has only one image"):
        split_label(View(CollectionReader.open(str(storage.root))), "a")
    storage = make_collection(clustered(3, 4, 1), name="bare")
    with pytest.raises(NotBuiltError, match="has a label"):
        split_label(View(CollectionReader.open(str(storage.root))), "a")
