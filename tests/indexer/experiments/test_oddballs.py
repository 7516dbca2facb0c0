from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.charts.montage import GOOD, ODD
from lookalike_indexer.charts.oddballs import oddball_montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.errors import NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.oddness import robust_z
from lookalike_indexer.experiments.view import View

# Cats around 0, dogs around 10, on a line; row 8 is a cat among the dogs, row 19 a dog far from everything.
CATS = [-0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4, 10.05]
DOGS = [9.6, 9.7, 9.8, 9.9, 10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 30.0]
LABELS = ["cat"] * 9 + ["dog"] * 11 + [None]
CLUSTERS = [0] * 8 + [1] + [1] * 10 + [2] + [0]


@pytest.fixture
def view(make_collection, publish_clustering) -> View:
    places = np.array([*CATS, *DOGS, 0.0])
    vectors = np.stack([places, np.zeros(21)], axis=1).astype(np.float32)
    return View(publish_clustering(make_collection(vectors, labels=LABELS, part_rows=8), CLUSTERS))


def test_images_nearest_to_another_class_are_listed_first(view: View):
    found = oddballs(view)
    first, second = found.tables["oddballs"].to_pylist()
    assert (first["id"], first["label"], first["looks_like"]) == (8 * 3 + 1, "cat", "dog")
    assert (first["outside"], first["far"], first["nearer"], first["cluster"]) == (True, True, True, 1)
    # Distances to the mean of the other eight cats, which is 0, and to that of all dogs.
    dogs = np.mean(DOGS)
    assert first["distance"] == pytest.approx(10.05)
    assert first["other_distance"] == pytest.approx(dogs - 10.05)
    assert first["score"] == pytest.approx((dogs - 10.05 - 10.05) / 10.05)
    assert (second["id"], second["outside"], second["far"], second["nearer"]) == (19 * 3 + 1, True, True, False)
    assert second["distance"] == pytest.approx(30 - np.mean(DOGS[:-1]), rel=1e-6)
    assert found.settings["method"] == "embeddings"
    assert found.figures == {"images": 20, "odd": 2, "outside": 2, "secondary": 0, "far": 2, "nearer": 1, "left_out": 1}


def test_clusters_alone_find_what_is_outside_without_reading_embeddings(view: View, monkeypatch):
    monkeypatch.setattr(View, "stream", lambda *_: pytest.fail("embeddings were read"))
    found = oddballs(view, method="clusters")
    lines = {line["id"]: line for line in found.tables["oddballs"].to_pylist()}
    assert set(lines) == {25, 58}
    assert (lines[25]["looks_like"], lines[58]["looks_like"]) == ("dog", "dog")
    assert lines[25]["score"] == pytest.approx(1 / 9 - 10 / 11)
    assert lines[58]["score"] == 0
    assert any("Judged by clusters alone" in finding for finding in found.findings)


def test_smaller_part_of_a_class_is_a_kind_of_its_own(make_collection, publish_clustering, clustered):
    labels = ["saw"] * 30 + ["player"] * 30
    clusters = [0] * 24 + [1] * 5 + [2] + [1] * 30
    view = View(publish_clustering(make_collection(clustered(60, 4, 1), labels=labels), clusters))
    for method in ("embeddings", "clusters"):
        found = oddballs(view, method=method, limit=100)
        assert (found.figures["secondary"], found.figures["outside"]) == (5, 1)
        lines = found.tables["oddballs"].to_pylist()
        assert {line["id"] // 3 for line in lines if line["secondary"]} == set(range(24, 29))
        reasons = [sum(line[kind] for kind in ("outside", "secondary", "far", "nearer")) for line in lines]
        assert reasons == sorted(reasons, reverse=True)
        assert "in a small part of it within a main cluster of another class: 5" in found.findings[0]
        assert "the most look: saw like player (" in found.findings[2 if method == "clusters" else 1]


def test_one_label_can_be_requested(view: View):
    found = oddballs(view, label="dog", limit=1)
    assert found.tables["oddballs"].column("label").to_pylist() == ["dog"]
    assert set(found.tables["typical"].column("label").to_pylist()) == {"dog"}
    assert (found.figures["images"], found.figures["odd"]) == (11, 1)
    labels = found.tables["labels"].to_pydict()
    assert (labels["label"], labels["odd"]) == (["dog"], [1])


def test_typical_images_are_the_nearest_to_the_middle_of_their_class(view: View):
    typical = [line for line in oddballs(view).tables["typical"].to_pylist() if line["label"] == "cat"]
    # The mean of all cats is right of 0, since one of them is far away.
    assert [line["id"] for line in typical] == [22, 19, 16, 13, 10, 7]
    assert [line["rank"] for line in typical] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("method", ["embeddings", "clusters"])
def test_class_of_one_image_cannot_be_odd_by_distance(make_collection, publish_clustering, method: str):
    vectors = np.eye(5, dtype=np.float32)
    storage = make_collection(vectors, labels=["a", "a", "a", "a", "alone"])
    found = oddballs(View(publish_clustering(storage, [0, 0, 0, 0, 0])), method=method)
    assert found.tables["oddballs"].num_rows == 0
    assert found.figures["images"] == (4 if method == "embeddings" else 5)


def test_single_class_is_judged_by_distance_alone(make_collection, publish_clustering):
    vectors = np.array([[0.0], [0.1], [-0.1], [0.2], [-0.2], [9.0]], np.float32)
    found = oddballs(View(publish_clustering(make_collection(vectors, labels=["a"] * 6), [0] * 6)))
    (line,) = found.tables["oddballs"].to_pylist()
    assert (line["id"], line["looks_like"], line["far"], line["nearer"]) == (16, "", True, False)
    assert np.isnan(line["other_distance"])
    assert -1 < line["score"] < -0.7


def test_modified_z_scores_are_by_group():
    values = np.array([1.0, 2.0, 3.0, 4.0, 100.0, 7.0, 7.0, 7.0, 8.0, np.nan])
    groups = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 0])
    z = robust_z(values, groups, np.isfinite(values))
    np.testing.assert_allclose(z, [*(0.6745 * np.array([-2, -1, 0, 1, 97])), 0, 0, 0, 0, np.nan])


def test_both_methods_know_the_same_images_outside(make_collection, publish_clustering):
    generator = np.random.default_rng(7)
    codes = generator.integers(0, 12, 600)
    labels = [f"label {code}" if generator.random() < 0.95 else None for code in codes]
    clusters = np.where(generator.random(600) < 0.85, codes, generator.integers(0, 12, 600))
    vectors = generator.standard_normal((600, 3)).astype(np.float32)
    view = View(publish_clustering(make_collection(vectors, labels=labels), clusters))
    outside = [
        {
            line["id"]
            for line in oddballs(view, limit=600, method=method).tables["oddballs"].to_pylist()
            if line["outside"]
        }
        for method in ("embeddings", "clusters")
    ]
    assert outside[0] == outside[1]
    assert 50 < len(outside[0]) < 110


def test_montage_shows_oddballs_beside_typical_images(view: View):
    picture = np.asarray(oddball_montage(oddballs(view), Thumbnails(view)))
    framed = {color: (picture == tuple(bytes.fromhex(color[1:]))).all(axis=2).sum() for color in (GOOD, ODD)}
    one = 4 * 3 * 131
    assert 6 * one <= framed[GOOD] < 7.5 * one
    assert 2 * one <= framed[ODD] < 3 * one


def test_invalid_arguments_are_rejected_with_a_reason(view: View, make_collection, publish_clustering, clustered):
    with pytest.raises(NotFoundError, match="has the label 'cow'; it has cat, dog"):
        oddballs(view, label="cow")
    with pytest.raises(UsageError, match="limit is 0"):
        oddballs(view, limit=0)
    bare = publish_clustering(make_collection(clustered(4, 2, 2), name="bare"), [0, 0, 1, 1])
    with pytest.raises(NotBuiltError, match="has a label"):
        oddballs(View(bare))
