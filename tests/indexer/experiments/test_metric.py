"""Every experiment measures a space by one metric, and names the metric beside the number."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.metrics.pairwise import cosine_distances

from lookalike import _metrics
from lookalike_indexer.cli.build import build
from lookalike_indexer.cli.choose_k import choose_k as choose_k_command
from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.cli.compare import compare as compare_command
from lookalike_indexer.cli.oddballs import oddballs as oddballs_command
from lookalike_indexer.cli.show import show
from lookalike_indexer.cli.split import split as split_command
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.collection import generations, metrics
from lookalike_indexer.collection.metrics import heading, metric_of, shared
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.choose_k import choose_k
from lookalike_indexer.experiments.compare import compare
from lookalike_indexer.experiments.image_clusters import image_clusters
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.partitions import inertia, kmeans_once
from lookalike_indexer.experiments.space_sample import sampled
from lookalike_indexer.experiments.split import split_label
from lookalike_indexer.experiments.view import View

METRICS = pytest.mark.parametrize("metric", ["cosine", "l2"])
LABELS = [f"label {row % 3}" for row in range(90)]


def run(command, *arguments):
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def vectors(clustered) -> np.ndarray:
    """Return vectors of lengths from 3 to 60, so that the two metrics disagree."""
    return clustered(90, 8, 5, spread=0.4) * np.geomspace(1, 20, 90, dtype=np.float32)[:, None]


@pytest.fixture
def view_by(make_collection, vectors):
    """Return a view of the collection with a clustering and an index of a metric."""

    def make(metric: str) -> View:
        storage = make_collection(vectors, labels=LABELS)
        run(cluster, storage.root, "--clusters", 5, "--metric", metric, "--restarts", 2)
        run(build, storage.root, "--metric", metric)
        return View(CollectionReader.open(str(storage.root)))

    return make


def apart(one: np.ndarray, other: np.ndarray, metric: str) -> np.ndarray:
    """Return the distance of each row to the same row of the other array."""
    if metric == "l2":
        return np.linalg.norm(one - other, axis=1)
    return 1 - (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_index_metric_precedes_clustering_metric(make_collection, clustered):
    storage = make_collection(clustered(40, 8, 4))
    assert metric_of(generations.require_latest(storage), "tiny") == "cosine"
    run(cluster, storage.root, "--clusters", 4, "--metric", "l2")
    assert metric_of(generations.require_latest(storage), "tiny") == "l2"
    run(build, storage.root)
    assert metric_of(generations.require_latest(storage), "tiny") == "cosine"


def test_headings_name_the_metric_of_distances_and_silhouettes_alone():
    assert heading("silhouette", "cosine") == "silhouette (cosine)"
    assert heading("distance", "l2") == "distance (Euclidean)"
    assert heading("distance", "by space") == heading("distance", None) == "distance"
    assert heading("davies_bouldin", "cosine") == "davies_bouldin (Euclidean)"
    assert heading("purity", "cosine") == "purity"
    assert (shared(["l2", "l2"]), shared(["l2", "cosine"])) == ("l2", "by space")


@METRICS
def test_members_and_strangers_of_a_split_are_measured_alike(view_by, vectors, metric: str):
    view = view_by(metric)
    found = split_label(view, "label 1", k=3)
    assert found.settings["metric"] == metric
    members = found.tables["members"].to_pydict()
    rows, groups = (np.array(members["id"]) - 1) // 3, np.array(members["subcluster"])
    used = vectors[rows] / (np.linalg.norm(vectors[rows], axis=1, keepdims=True) if metric == "cosine" else 1)
    centroids = np.stack([used[groups == group].mean(axis=0) for group in range(3)])
    np.testing.assert_allclose(members["distance"], apart(used, centroids[groups], metric), rtol=1e-4, atol=1e-6)
    expected = silhouette_samples(used, groups, metric="euclidean" if metric == "l2" else "cosine")
    np.testing.assert_allclose(members["silhouette"], expected, atol=1e-4)
    around = found.tables["neighbours"].to_pydict()
    strangers = vectors[(np.array(around["id"]) - 1) // 3]
    np.testing.assert_allclose(
        around["distance"], apart(strangers, centroids[around["subcluster"]], metric), rtol=1e-4, atol=1e-6
    )
    inertia = np.square(used - centroids[groups]).sum()
    assert found.tables["ks"].column("inertia").to_pylist() == [pytest.approx(inertia, rel=1e-5)]


@METRICS
def test_choose_k_and_compare_have_one_silhouette(view_by, vectors, metric: str):
    view = view_by(metric)
    chosen = choose_k(view, first=5, last=5, seeds=2, seed=7)
    compared = compare(view, strategies=["kmeans"], clusters=5)
    assert chosen.settings["metric"] == compared.settings["metric"] == metric
    stored = compared.tables["scores"].to_pylist()[-1]
    drawn = sampled(view, "tiny", 4000, 7)
    runs = [kmeans_once(drawn.vectors, 5, seed)[1] for seed in (7, 8)]
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True) if metric == "cosine" else 1
    for groups, found in (
        (view.assigned(stored["stored"]).clusters, stored["silhouette"]),
        (min(runs, key=inertia).clusters, chosen.figures["silhouette"]),
    ):
        expected = silhouette_score(vectors, groups, metric="euclidean" if metric == "l2" else "cosine")
        assert found == pytest.approx(expected, abs=1e-5)
        means = np.stack([exact[groups == group].mean(axis=0) for group in range(5)])
    least = np.square(exact - means[groups]).sum()
    assert chosen.tables["k"].column("inertia").to_pylist() == [pytest.approx(least, rel=1e-4)]


def test_whitening_is_left_out_where_distances_are_euclidean(view_by):
    view = view_by("l2")
    result = compare(view, clusters=5)
    assert "whitened" not in result.settings["strategies"]
    # Equally good by the labels, so the order decides; the command names the metric.
    assert "--metric l2" in result.findings[-1] or "is stored already" in result.findings[-1]
    with pytest.raises(UsageError, match="leave whitened out"):
        compare(view, strategies=["whitened"], clusters=5)


@METRICS
def test_distances_to_centroids_are_in_the_metric_of_the_clustering(view_by, vectors, metric: str):
    view = view_by(metric)
    (name,) = view.reader.manifest.clusterings
    assigned, centroids = view.assigned(name), view.reader.centroids(name).astype(np.float64)
    exact = vectors.astype(np.float64)
    own = centroids[assigned.clusters]
    np.testing.assert_allclose(assigned.distances, apart(exact, own, metric), rtol=1e-5, atol=1e-6)
    # If the distance grew by the margin, the next centroid would be as near.
    used = exact / (np.linalg.norm(exact, axis=1, keepdims=True) if metric == "cosine" else 1)
    second = np.sort(np.linalg.norm(used[:, None] - centroids[None], axis=2), axis=1)[:, 1]
    lengths = np.linalg.norm(own, axis=1)
    border = second if metric == "l2" else 1 - (1 + lengths**2 - second**2) / (2 * lengths)
    np.testing.assert_allclose(assigned.distances + assigned.margins, border, rtol=1e-5, atol=1e-6)
    rule = Rule.of(view.reader, name)
    again = rule.measure(vectors)
    assert again.distances.tobytes() == assigned.distances.tobytes()
    assert again.margins.tobytes() == assigned.margins.tobytes()


@METRICS
def test_filters_by_distance_mean_the_same_distance(view_by, metric: str):
    view = view_by(metric)
    (name,) = view.reader.manifest.clusterings
    distances = view.assigned(name).distances
    limit = float(np.median(distances))
    keep = view.matching(f"distance('{name}') < {limit}")
    assert keep is not None
    np.testing.assert_array_equal(keep, distances < limit)


def test_embedding_of_zeros_is_at_cosine_distance_one(make_collection, clustered):
    vectors = clustered(40, 8, 2)
    vectors[[3, 30]] = 0
    storage = make_collection(vectors)
    run(cluster, storage.root, "--clusters", 3)
    view = View(CollectionReader.open(str(storage.root)))
    assigned = view.assigned("tiny/k3")
    assert assigned.distances[[3, 30]].tolist() == [1, 1]
    assert np.delete(assigned.distances, [3, 30]).max() < 0.5
    again = Rule.of(view.reader, "tiny/k3").measure(vectors)
    assert again.distances.tobytes() == assigned.distances.tobytes()


def test_oddballs_are_measured_by_cosine_where_the_space_is(view_by, vectors):
    view = view_by("cosine")
    found = oddballs(view, limit=90, method="embeddings")
    assert found.settings["metric"] == "cosine"
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = np.arange(90) % 3
    lines = found.tables["oddballs"].to_pylist()
    assert lines
    for line in lines:
        row = (line["id"] - 1) // 3
        others = np.stack([unit[(codes == code) & (np.arange(90) != row)].mean(axis=0) for code in range(3)])
        expected = cosine_distances(unit[row : row + 1], others)[0]
        nearest = np.delete(expected, codes[row]).min()
        assert line["distance"] == pytest.approx(expected[codes[row]], abs=1e-6)
        assert line["other_distance"] == pytest.approx(nearest, abs=1e-6)
        assert line["score"] == pytest.approx((nearest - line["distance"]) / max(nearest, line["distance"]), abs=1e-5)
        reasons = [name for name in ("outside", "secondary", "far", "nearer") if line[name]]
        assert line["why"] == ", ".join(reasons) != ""
    assert [(-line["why"].count(","), line["score"]) for line in lines] == sorted(
        (-line["why"].count(","), line["score"]) for line in lines
    )


def test_name_of_the_metric_stands_beside_the_numbers(view_by, tmp_path):
    root = str(view_by("cosine").reader.storage.root)
    here = ["--collection", root]
    assert "silhouette (cosine)  distance (cosine)" in run(split_command, "label 0", *here)
    assert "Silhouette (cosine) " in run(split_command, "label 0", *here)
    assert "silhouette (cosine)  davies_bouldin (Euclidean)" in run(choose_k_command, "--to", 4, *here)
    assert "silhouette (cosine)" in run(compare_command, "--strategies", "kmeans", *here)
    told = run(oddballs_command, *here)
    assert "why" in told
    assert "score  distance (cosine)  other_distance (cosine)" in told
    assert "Score: the simplified silhouette (cosine), from -1 to 1." in told
    shown = run(show, root, "00001.jpg", "--members", 2)
    assert "distance (cosine)" in shown
    data = json.loads(run(show, root, "00001.jpg", "--members", 2, "--json"))
    assert data["settings"]["metric"] == "cosine"
    assert {line["metric"] for line in (*data["tables"]["clusters"], *data["tables"]["members"])} == {"cosine"}


def test_spaces_of_two_metrics_are_distinguished(view_by):
    view = view_by("cosine")
    storage = view.reader.storage
    made = generations.require_latest(storage)
    generations.publish(storage, dataclasses.replace(made, spaces={**made.spaces, "long": made.spaces["tiny"]}))
    run(cluster, storage.root, "--space", "long", "--clusters", 5, "--metric", "l2", "--restarts", 2)
    view = View(CollectionReader.open(str(storage.root)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare(view, strategies=["kmeans"], clusters=5)
    assert result.settings["metric"] == "by space"
    assert {(line["space"], line["metric"]) for line in result.tables["scores"].to_pylist()} == {
        ("long", "l2"),
        ("tiny", "cosine"),
    }
    shown = image_clusters(view, 4)
    assert shown.settings["metric"] == "by space"
    told = run(compare_command, "--collection", storage.root, "--strategies", "kmeans", "--clusters", 5)
    assert "metric  silhouette" in told


def test_client_names_the_same_columns_as_the_commands():
    # The client imports nothing of the indexer, so both have the list.
    for name in ("NAMES", "_MEASURED", "_OF_KMEANS"):
        assert getattr(_metrics, name) == getattr(metrics, name)
