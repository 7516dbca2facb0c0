from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.charts.interpret import interpretation_sheets
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.classes import imagenet_names
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.imagenet_tree import imagenet_tree
from lookalike_indexer.experiments.interpret import interpret_clusters
from lookalike_indexer.experiments.naming import ClusterName, disambiguated, names_of_clusters
from lookalike_indexer.experiments.view import View

PLACES = [0.0, 1.0, 2.0, 3.0, 4.0, 20.0, 21.0, 25.0]
CLUSTERS = [0, 0, 0, 0, 0, 2, 2, 2]
LABELS = ["cat", "cat", "cat", "dog", None, "dog", "dog", "cow"]


@pytest.fixture
def storage(make_collection, publish_clustering):
    def make(labels):
        vectors = np.stack([PLACES, np.zeros(8)], axis=1).astype(np.float32)
        storage = make_collection(vectors, labels=labels)
        publish_clustering(storage, CLUSTERS, k=4)
        return storage

    return make


@pytest.fixture
def view(storage) -> View:
    return View(CollectionReader.open(str(storage(LABELS).root)))


def samples(found, cluster: int, kind: str) -> list[int]:
    lines = found.tables["samples"].to_pylist()
    return [(line["id"] - 1) // 3 for line in lines if (line["cluster"], line["kind"]) == (cluster, kind)]


def test_clusters_are_named_after_what_is_frequent_in_them_and_rarer_elsewhere(view: View):
    found = interpret_clusters(view)
    first, second = found.tables["clusters"].to_pylist()
    assert (first["cluster"], first["size"], first["name"], first["names_from"]) == (0, 5, "cat", "labels")
    # 3 of the 4 with a label, against 3 of 7.
    assert (first["share"], first["lift"]) == (0.75, 1.75)
    assert (second["cluster"], second["name"], second["is_mixed"]) == (2, "dog", False)
    assert found.figures == {"clusters": 2, "empty_clusters": 2, "mixed": 0}


def test_samples_are_central_borderline_and_random(view: View):
    found = interpret_clusters(view, samples=2)
    # The centroids are at 2 and 22.
    assert samples(found, 0, "central") == [2, 1]
    assert samples(found, 2, "central") == [6, 5]
    assert samples(found, 0, "borderline") == [4, 3]
    assert samples(found, 2, "borderline") == [5, 6]
    drawn = {tuple(samples(interpret_clusters(view, samples=2, seed=seed), 0, "random")) for seed in range(20)}
    assert len(drawn) > 5
    assert all(len(set(pair)) == 2 and set(pair) <= set(range(5)) for pair in drawn)
    assert interpret_clusters(view, seed=3).tables["samples"].equals(interpret_clusters(view, seed=3).tables["samples"])


def test_small_cluster_has_fewer_samples(view: View):
    found = interpret_clusters(view, samples=5)
    assert [len(samples(found, cluster, "random")) for cluster in (0, 1, 2)] == [5, 0, 3]


def test_without_labels_predictions_name_the_clusters(storage, publish_predictions):
    reader = publish_predictions(storage([None] * 8), [["tabby", "lynx"]] * 5 + [["collie", "lynx"]] * 3)
    found = interpret_clusters(View(reader))
    lines = found.tables["clusters"].to_pylist()
    assert [(line["name"], line["names_from"]) for line in lines] == [
        ("tabby", "predictions of tiny"),
        ("collie", "predictions of tiny"),
    ]
    assert found.tables["samples"].column("prediction").to_pylist()[0] == "tabby"


def test_without_labels_and_predictions_there_are_samples_but_no_names(storage):
    view = View(CollectionReader.open(str(storage([None] * 8).root)))
    found = interpret_clusters(view)
    assert found.tables["clusters"].column("name").to_pylist() == ["", ""]
    assert "cannot be named, for there are neither labels nor predictions" in found.findings[0]
    assert len(list(interpretation_sheets(found, Thumbnails(view)))) == 1


def test_names_need_terms_that_stand_out():
    codes = np.repeat(np.arange(10), 12).astype(np.int32)
    clusters = (np.arange(120) % 2).astype(np.int32)
    clusters[:12] = 0
    even, odd = names_of_clusters(codes, clusters, [f"t{number}" for number in range(10)], 2)
    # Only t0 is more frequent in cluster 0 than overall; the other nine only in cluster 1.
    assert (even.terms, even.is_mixed, even.text) == (["t0"], True, "mixed: t0")
    assert even.lifts == pytest.approx([(12 / 66) / 0.1])
    assert (odd.terms, odd.is_mixed) == (["t1", "t2", "t3"], True)


def test_terms_are_added_until_half_of_the_cluster_is_named():
    codes = np.array([0, 0, 1, 1, 2, 3, 4, 4, 4, 4], np.int32)
    clusters = np.array([0] * 6 + [1] * 4, np.int32)
    name, other = names_of_clusters(codes, clusters, list("abcde"), 2)
    assert (name.text, name.is_mixed) == ("a / b", False)
    assert name.shares == pytest.approx([1 / 3, 1 / 3])
    assert other.text == "e"


def test_term_that_all_images_share_is_the_name():
    (name,) = names_of_clusters(np.zeros(4, np.int32), np.zeros(4, np.int32), ["only"], 1)
    assert (name.text, name.shares, name.lifts) == ("only", [1.0], [1.0])


def test_mixed_cluster_is_named_by_what_its_classes_mean():
    texts = ["apron", "kimono", "jersey", "cardigan", "sarong", "tench", "golf ball"]
    codes = np.repeat(np.arange(7), 4).astype(np.int32)
    clothing, rest = names_of_clusters(codes, (codes > 4).astype(np.int32), texts, 2)
    assert (clothing.text, clothing.is_mixed, clothing.terms) == ("clothing", False, ["apron", "kimono", "jersey"])
    assert (clothing.share, clothing.lift) == (1.0, pytest.approx(28 / 20))
    # Half of it is one class, which is more specific than the common hypernym.
    assert rest.text == "tench"


def test_labels_that_mean_nothing_to_imagenet_keep_their_terms():
    texts = [f"t{number}" for number in range(6)] + ["apron"]
    codes = np.array([0, 1, 2, 3, 4, 5, 6, 6], np.int32)
    clusters = np.array([0] * 7 + [1], np.int32)
    assert names_of_clusters(codes, clusters, texts, 2)[0].text == "mixed: t0 / t1 / t2"


def test_equal_names_get_their_second_class_or_a_number():
    names = [
        ClusterName(["daisy"], [1.0], [2.0]),
        ClusterName(["daisy"], [1.0], [2.0]),
        ClusterName(["tench"], [1.0], [2.0]),
    ]
    texts = ["daisy", "bee", "pot", "tench"]
    clusters = np.array([0, 0, 0, 1, 1, 2], np.int32)
    classes = np.array([[0, 1], [0, 1], [0, 2], [0, 2], [0, 2], [3, 1]], np.int32)
    assert [name.text for name in disambiguated(names, clusters, classes, texts)] == [
        "daisy, bee",
        "daisy, pot",
        "tench",
    ]
    nothing = np.full((6, 1), -1, np.int32)
    assert [name.text for name in disambiguated(names, clusters, nothing, [])] == ["daisy, 1", "daisy, 2", "tench"]


@pytest.mark.parametrize(
    ("name", "meanings"),
    [
        ("apron", ["apron", "protective garment", "clothing"]),
        ("Leopards", ["leopard", "big cat", "feline"]),
        ("n02979186_cassette_player", ["cassette player", "electronic equipment"]),
        ("cat", ["cat", "feline", "carnivore"]),
        ("t0", []),
    ],
)
def test_names_are_found_in_imagenets_tree(name, meanings):
    tree = imagenet_tree()
    path = [tree.meanings[node].word for node in tree.upwards(tree.find(name))]
    assert path[: len(meanings)] == meanings
    assert bool(path) == bool(meanings)


def test_every_class_of_imagenet_is_a_node_of_its_own():
    tree = imagenet_tree()
    nodes = {tree.find(name) for name in imagenet_names()}
    assert len(nodes) == 1000
    assert {tree.meanings[node].leaves for node in nodes} == {1}
    assert tree.meanings[0].leaves == 1000


def test_sheets_hold_25_clusters_each(make_collection, publish_clustering, clustered):
    reader = publish_clustering(make_collection(clustered(90, 4, 30)), [row % 30 for row in range(90)])
    view = View(reader)
    found = interpret_clusters(view, samples=1)
    sheets = dict(interpretation_sheets(found, Thumbnails(view)))
    assert list(sheets) == ["interpret-01", "interpret-02"]
    gray = [(np.asarray(sheet) == (0xE4, 0xE4, 0xE4)).all(axis=2).sum() / 92**2 for sheet in sheets.values()]
    # Three images without files for each cluster, and a line.
    assert 65 < gray[0] < 77
    assert 12 < gray[1] < 16


def test_invalid_arguments_are_rejected_with_a_reason(view: View, make_collection, clustered):
    with pytest.raises(UsageError, match="samples is 0"):
        interpret_clusters(view, samples=0)
    bare = make_collection(clustered(4, 2, 2), name="bare")
    with pytest.raises(NotBuiltError, match="has no clustering"):
        interpret_clusters(View(CollectionReader.open(str(bare.root))))
