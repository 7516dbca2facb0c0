from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.cluster import cluster
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.compare import COSTS, compare
from lookalike_indexer.experiments.cost import measured
from lookalike_indexer.experiments.partitions import STRATEGIES
from lookalike_indexer.experiments.view import View


@pytest.fixture
def view(make_collection, publish_space, clustered) -> View:
    """A space whose groups are the labels, and a space of noise that lacks the first part's images."""
    vectors = clustered(80, 12, 4, spread=0.02)
    storage = make_collection(vectors, labels=[f"group {row % 4}" for row in range(80)], part_rows=40)
    noise = np.random.default_rng(1).standard_normal((40, 12)).astype(np.float32)
    publish_space(storage, "noise", np.arange(40, 80, dtype=np.int64) * 3 + 1, noise)
    return View(CollectionReader.open(str(storage.root)))


def test_scores_every_strategy_in_every_space_on_the_same_images(view):
    result = compare(view)
    scores = result.tables["scores"].to_pylist()
    assert [(line["space"], line["strategy"]) for line in scores] == [
        (space, strategy) for space in ("noise", "tiny") for strategy in STRATEGIES
    ]
    assert {line["stored"] for line in scores} == {""}
    assert result.settings["sample"] == 40
    assert result.settings["clusters"] == 4
    for line in scores:
        if line["space"] == "tiny":
            assert (line["purity"], line["nmi"], line["ari"]) == pytest.approx((1, 1, 1))
            assert (line["smallest"], line["largest"]) == (10, 10)
        else:
            assert line["ari"] < 0.3
    assert result.figures["ari"] == pytest.approx(1)
    assert result.findings[0] == "Into 4 clusters (the number of labels): kmeans in tiny is best by ARI, 1.000."


def test_stored_clusterings_stand_beside_and_the_best_can_be_stored(view, grow_collection, clustered):
    root = str(view.reader.storage.root)
    result = compare(view, spaces=["tiny"], strategies=["kmeans"])
    assert result.findings[-1] == f"Next: lookalike cluster {root} --strategy kmeans --clusters 4"
    other = compare(view, spaces=["noise"], strategies=["whitened"], clusters=5)
    assert other.findings[-1] == f"Next: lookalike cluster {root} --space noise --strategy whitened --clusters 5"

    def stored(*options):
        assert CliRunner().invoke(cluster, [root, *options]).exit_code == 0
        return compare(View(CollectionReader.open(root)), spaces=["tiny"], strategies=["kmeans", "whitened"])

    for line in (["--clusters", "7"], ["--clusters", "4"], ["--clusters", "3", "--strategy", "agglomerative"]):
        result = stored(*line)
    assert result.findings[-1].startswith("kmeans into 4 clusters is stored already, ARI ")
    assert result.findings[-1].endswith(": take it with --clustering tiny/k4")
    scores = result.tables["scores"].to_pylist()
    assert [(line["strategy"], line["stored"], line["k"]) for line in scores] == [
        ("kmeans", "", 4),
        ("whitened", "", 4),
        ("agglomerative", "tiny/k3-agglomerative", 3),
        ("kmeans", "tiny/k4", 4),
    ]
    assert scores[3] == {**scores[0], "stored": "tiny/k4"}
    assert scores[2]["ari"] < 1 == scores[3]["ari"]
    assert "Stored: tiny/k4, kmeans into 4 clusters, ARI 1.000." in result.findings
    # Later images are in no stored clustering, and are left out of its figures.
    grow_collection(view.reader.storage, clustered(20, 12, 4, spread=0.02))
    scores = compare(View(CollectionReader.open(root)), spaces=["tiny"], strategies=["kmeans"], clusters=4)
    assert [line["smallest"] for line in scores.tables["scores"].to_pylist()] == [25, 20, 20]


def test_without_labels_the_silhouette_decides(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 3), name="bare")
    result = compare(View(CollectionReader.open(str(storage.root))), strategies=["kmeans", "bisecting"], clusters=3)
    scores = result.tables["scores"].to_pydict()
    assert np.isnan(scores["ari"]).all()
    assert min(scores["silhouette"]) > 0.8
    assert "is best by silhouette" in result.findings[0]


def test_only_costs_differ_from_run_to_run(view):
    first, second = (compare(view, strategies=["kmeans"], spaces=["tiny"], sample=50) for _ in range(2))
    assert first.tables["scores"].equals(second.tables["scores"])
    assert (first.figures, first.findings, first.settings) == (second.figures, second.findings, second.settings)
    assert "Measured on a random sample of 50 of the 80 images of tiny." in first.findings
    (cost,) = first.tables[COSTS].to_pylist()
    assert cost["seconds"] > 0
    assert cost["peak_bytes"] > 0


def test_measured_memory_is_that_of_the_block():
    with measured() as small:
        np.zeros(10_000)
    with measured() as large:
        np.zeros(1_000_000)
    assert 80_000 <= small.peak_bytes < 200_000
    assert 8_000_000 <= large.peak_bytes < 8_200_000


def test_mistakes_are_named(view, publish_space):
    with pytest.raises(NotFoundError, match=r"has no space 'none'; did you mean 'noise'\? It has: noise, tiny"):
        compare(view, spaces=["tiny", "none"])
    publish_space(view.reader.storage, "first", np.array([1], np.int64), np.ones((1, 12), np.float32))
    with pytest.raises(NotBuiltError, match="The spaces first, noise have in common 0 images; at least 2 are needed"):
        compare(View(CollectionReader.open(str(view.reader.storage.root))), spaces=["first", "noise"], clusters=1)
    with pytest.raises(UsageError, match="There is no strategy 'dbscan'; there are kmeans, spherical"):
        compare(view, strategies=["dbscan"])
    with pytest.raises(UsageError, match="Only 2 images can be compared"):
        compare(view, sample=2)


@pytest.mark.parametrize("asked", [0, 1, 40, 41, 1000])
def test_recommended_number_of_clusters_is_used(view, asked):
    with pytest.raises(UsageError, match=f"--clusters {asked}: give a number from 2 to 39, for the 40 images compared"):
        compare(view, clusters=asked)
    taken = compare(view, spaces=["noise"], strategies=["kmeans"], clusters=39)
    assert taken.settings["clusters"] == 39
