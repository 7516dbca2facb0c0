from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from lookalike_indexer.charts.evolution import evolution_chart
from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.cluster_tracks import churn, matched
from lookalike_indexer.experiments.evolution import evolution, trace
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Silent

Checkpoints = Callable[..., View]


@pytest.fixture
def checkpoints(make_collection) -> Checkpoints:
    """Make a collection of the spaces net@NAME with the given vectors, clustered into two."""

    def make(
        vectors: dict[str, np.ndarray], labels: Sequence[str | None], clusters: int = 2, metric: Metric = "cosine"
    ) -> View:
        spaces, models = {}, {}
        for name, matrix in vectors.items():
            storage = make_collection(matrix, labels=labels, space=f"net@{name}")
            made = generations.require_latest(storage)
            spaces[f"net@{name}"] = dataclasses.replace(made.spaces[f"net@{name}"], model=f"net@{name}")
            models[f"net@{name}"] = made.models["tiny"]
        draft = dataclasses.replace(generations.require_latest(storage), spaces=spaces, models=models)
        draft = generations.complete(storage, draft)
        for space in spaces:
            draft, _ = run_cluster(
                storage, draft, ClusterSettings(space, clusters, metric=metric, restarts=3), Silent()
            )
        return View(CollectionReader(storage, generations.publish(storage, draft)))

    return make


def two_groups(second: Sequence[int]) -> np.ndarray:
    """Return twelve vectors near two axes; the rows given are near the second axis."""
    vectors = np.random.default_rng(5).uniform(0, 0.1, (12, 4)).astype(np.float32)
    vectors[:, 0] += 1
    vectors[list(second), :2] += (-1, 1)
    return vectors


def test_image_that_changes_sides_is_found_with_its_step(checkpoints):
    late = [6, 7, 8, 9, 10]
    view = checkpoints(
        {"step1": two_groups(late), "step2": two_groups(late), "step10": two_groups([*late, 11])},
        ["a"] * 6 + ["b"] * 6,
    )
    found = evolution(view, k=3)
    assert found.settings["steps"] == ["step1", "step2", "step10"]
    steps = found.tables["steps"].to_pydict()
    np.testing.assert_allclose(steps["moved"], [np.nan, 0, 1 / 12])
    np.testing.assert_allclose(steps["purity"], [11 / 12, 11 / 12, 1])
    np.testing.assert_allclose(steps["ari_before"][1], 1)
    images = found.tables["images"].to_pydict()
    assert images["cluster_flips"] == [0] * 11 + [1]
    assert images["cluster_settled"] == ["step1"] * 11 + ["step10"]
    labels = found.tables["labels"].to_pylist()
    assert [(line["step"], line["label"], round(line["purity"], 4)) for line in labels] == [
        ("step1", "a", 1.0),
        ("step1", "b", 0.8333),
        ("step2", "a", 1.0),
        ("step2", "b", 0.8333),
        ("step10", "a", 1.0),
        ("step10", "b", 1.0),
    ]
    path = trace(view, found, 11).to_pydict()
    assert path["main_label"] == ["a", "a", "b"]
    assert path["track"][0] == path["track"][1] != path["track"][2]
    assert "Most images changed clusters at step10: 8.3% of 12" in found.findings[0]
    assert "b gained most: its purity went from 0.83 to 1.00." in found.findings


def test_maps_of_a_rotated_space_are_aligned(checkpoints):
    vectors = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
    turned = vectors[:, [2, 0, 1]] * np.array([1, -1, 1], np.float32)
    view = checkpoints({"1": vectors, "2": turned}, [None] * 30)
    found = evolution(view, k=5)
    steps = found.tables["steps"].to_pydict()
    assert steps["disparity"][1] < 1e-9
    assert steps["churn"][1] == 0
    places = found.tables["map"].to_pydict()
    xy = np.array([places["x"], places["y"]]).T.reshape(2, 30, 2)
    np.testing.assert_allclose(xy[0], xy[1], atol=1e-5)
    assert "labels" not in found.tables


@pytest.mark.parametrize(("metric", "name"), [("cosine", "cosine"), ("l2", "Euclidean")])
def test_neighbors_are_by_the_metric_of_the_space_and_say_so(checkpoints, metric, name):
    draw = np.random.default_rng(2)
    vectors = draw.standard_normal((30, 3)).astype(np.float32)
    longer = vectors * draw.uniform(0.2, 5, (30, 1)).astype(np.float32)
    found = evolution(checkpoints({"1": vectors, "2": longer}, [None] * 30, metric=metric), k=5)
    # Lengths do not matter for cosine.
    assert (found.tables["steps"].column("churn").to_pylist()[1] > 0.2) == (metric == "l2")
    assert found.settings["metric"] == metric
    assert found.tables["steps"].column("metric").to_pylist() == [metric] * 2
    assert f"Neighbors and maps are by {name} distance." in found.findings
    legend = evolution_chart(found).subfigs[0].axes[0].get_legend()
    assert f"new among the nearest neighbors ({name})" in [text.get_text() for text in legend.get_texts()]


def test_sample_is_reported_and_repeatable_by_seed(checkpoints):
    view = checkpoints({"1": two_groups([3]), "2": two_groups([4])}, [None] * 12)
    one, two = evolution(view, k=2, sample=6), evolution(view, k=2, sample=6)
    assert one.tables["map"].equals(two.tables["map"])
    assert one.tables["map"].num_rows == 12
    assert "a random sample of 6 images" in one.findings[-2]
    with pytest.raises(UsageError, match="-k 6 must be at least 1 and less than the 6 images"):
        evolution(view, k=6, sample=6)


def test_clusters_are_matched_so_that_most_images_stay():
    before = np.array([0, 0, 0, 1, 1, 2, 2, 2], np.int32)
    now = np.array([3, 3, 0, 0, 0, 1, 1, 2], np.int32)
    # Cluster 2 has no partner left, and begins track 3.
    assert matched(before, now, 4).tolist() == [1, 2, 3, 0]


def test_churn_ignores_the_order_of_neighbors():
    before = np.array([[1, 2], [0, 2]])
    assert churn(before, np.array([[2, 1], [2, 3]])) == 0.25


def test_accuracy_and_predictions_by_step_where_labels_stand_for_classes(checkpoints, publish_model):
    steps = {"step2": two_groups([6, 7, 8]), "step10": two_groups([6, 7, 8])}
    view = checkpoints(steps, ["tench"] * 6 + ["goldfish"] * 5 + ["gnu"])
    unknown = evolution(view, k=3)
    assert np.isnan(unknown.tables["steps"].column("accuracy").to_numpy()).all()
    assert set(unknown.tables["map"].column("prediction").to_pylist()) == {""}
    storage = view.reader.storage
    publish_model(storage, "net@step2", [[0, 1]] * 12, like="net@step2")
    publish_model(storage, "net@step10", [[0, 1]] * 6 + [[1, 0]] * 6, like="net@step10")
    found = evolution(View(CollectionReader.open(str(storage.root))), k=3)
    assert found.tables["steps"].column("step").to_pylist() == ["step2", "step10"]
    # The gnu is no class of ImageNet.
    np.testing.assert_allclose(found.tables["steps"].column("accuracy").to_numpy(), [6 / 11, 1])
    assert "Accuracy went from 0.545 to 1.000." in found.findings
    assert found.tables["map"].column("prediction").to_pylist() == ["tench"] * 18 + ["goldfish"] * 6
    mapped = evolution(View(CollectionReader.open(str(storage.root))), k=3, class_map={"gnu": ["goldfish"]})
    np.testing.assert_allclose(mapped.tables["steps"].column("accuracy").to_numpy(), [6 / 12, 1])


def test_steps_go_by_their_numbers():
    assert sorted(["step100", "step9", "final", "step10"], key=natural) == ["final", "step9", "step10", "step100"]


def test_without_checkpoints_the_error_names_the_command(make_collection):
    storage = make_collection(two_groups([1]))
    with pytest.raises(NotBuiltError, match=r"0 checkpoints.*lookalike evolution --checkpoints"):
        evolution(View(CollectionReader.open(str(storage.root))))


@pytest.mark.parametrize("alike", [["step1"], ["step2"], ["step1", "step2", "step3"]])
def test_step_that_sees_no_difference_has_a_map_of_one_point(checkpoints, alike):
    """A collapsed network gives all images one embedding up to rounding."""
    noise = np.random.default_rng(1).standard_normal((12, 4))
    collapsed = (0.3 + 3e-8 * noise).astype(np.float32)
    steps = {name: collapsed if name in alike else two_groups([6, 7, 8]) for name in ("step1", "step2", "step3")}
    found = evolution(checkpoints(steps, ["a"] * 12), k=3)
    places = found.tables["map"].to_pylist()
    assert np.isfinite([[line["x"], line["y"]] for line in places]).all()
    for name in steps:
        points = {(line["x"], line["y"]) for line in places if line["step"] == name}
        assert (points == {(0.0, 0.0)}) == (name in alike)
    disparity = dict(zip(steps, found.tables["steps"].column("disparity").to_pylist(), strict=True))
    defined = {name for name, value in disparity.items() if not np.isnan(value)}
    assert defined == ({"step3"} if alike == ["step1"] else set())


def test_space_of_one_dimension_has_a_flat_map(checkpoints):
    line = np.array([[1.0], [-1.0], [2.0], [-3.0]], np.float32)
    found = evolution(checkpoints({"step1": line, "step2": -line}, ["a"] * 4), k=1)
    np.testing.assert_allclose(found.tables["map"].column("y").to_numpy(), 0, atol=1e-12)
