from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import IndexerError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments import choose_k as module
from lookalike_indexer.experiments.choose_k import choose_k, elbow, tried_numbers
from lookalike_indexer.experiments.view import View


@pytest.fixture
def view(make_collection, clustered) -> View:
    """120 images in six distant groups."""
    vectors = clustered(120, 16, 6)
    return opened(make_collection(vectors, labels=[f"group {row % 6}" for row in range(120)]))


def opened(storage) -> View:
    return View(CollectionReader.open(str(storage.root)))


def test_recommends_the_true_number_of_groups(view):
    result = choose_k(view, last=12)
    rules = dict(zip(*[result.tables["rules"].column(name).to_pylist() for name in ("rule", "k")], strict=True))
    assert rules["silhouette"] == rules["elbow"] == rules["davies_bouldin"] == rules["calinski_harabasz"] == 6
    assert result.figures["recommended"] == 6
    assert result.figures["silhouette"] > 0.8
    assert result.figures["stability"] == 1.0
    assert result.findings[0].startswith("6 clusters of tiny are recommended, because their silhouette (cosine) is ")
    assert "The images have 6 labels." in result.findings
    assert result.tables["routes"].to_pylist() == [{"route": "communities", "k": 6}]
    assert "Count by another route: communities 6, which is within 30% of 6." in result.findings
    table = result.tables["k"].to_pydict()
    assert table["k"] == list(range(2, 13))
    assert all(before > after for before, after in zip(table["inertia"][:5], table["inertia"][1:5], strict=False))
    # More clusters than groups split a group at random, another one with each seed.
    assert table["stability"][table["k"].index(6)] > table["stability"][table["k"].index(9)]


def test_measures_what_scikit_learn_measures(view):
    from sklearn.metrics import silhouette_score

    vectors = view.reader.vectors("tiny", np.arange(120))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = silhouette_score(vectors, np.arange(120) % 6, metric="cosine")
    assert choose_k(view, first=6, last=6).figures["silhouette"] == pytest.approx(expected, abs=1e-4)


def test_same_seed_gives_the_same_result(view):
    first, second = choose_k(view, last=4, seed=3), choose_k(view, last=4, seed=3)
    assert first.tables["k"].equals(second.tables["k"])
    assert first.figures == second.figures


def test_says_what_was_sampled_and_where_the_end_was_reached(view, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PAIRED", 40)
    result = choose_k(view, last=4, sample=60)
    assert "Measured on a random sample of 60 of the 120 images of tiny." in result.findings
    assert "The silhouette is that of 40 images of the sample." in result.findings
    assert "This is at the end of what was tried, 2 to 4; try others with --from and --to." in result.findings
    assert result.settings["sample"] == 60


def test_many_numbers_are_tried_at_equal_ratios():
    numbers = tried_numbers(2, 1000)
    assert (numbers[0], numbers[-1]) == (2, 1000)
    assert len(numbers) <= 64
    assert numbers[:6] == [2, 3, 4, 5, 6, 7]
    assert tried_numbers(2, 65) == list(range(2, 66))


def test_elbow_is_the_point_farthest_below_the_chord():
    assert elbow([2, 3, 4, 5, 6], [60, 30, 5, 4, 3], 100, 20) == 2
    assert elbow([2, 3], [10, 10], 10, 20) == 0


def test_elbow_does_not_move_with_the_last_number(view):
    found = [choose_k(view, last=last, seeds=2).tables["rules"].to_pylist()[0]["k"] for last in (8, 12, 30)]
    assert found == [6, 6, 6]


def test_next_command_is_suggested(view):
    result = choose_k(view, last=8)
    assert result.findings[-1].startswith("Next: lookalike cluster ")
    assert result.findings[-1].endswith(" --clusters 6")
    assert result.tables["suggestions"].to_pylist()[0] == {"rank": 1, "k": 6, "route": "silhouette"}


def test_mistakes_are_named(view, make_collection):
    with pytest.raises(UsageError, match="--from 9 --to 4"):
        choose_k(view, first=9, last=4)
    with pytest.raises(UsageError, match="--seeds 1"):
        choose_k(view, seeds=1)
    with pytest.raises(UsageError, match="--sample 1 is too small"):
        choose_k(view, sample=1)
    with pytest.raises(UsageError, match="--from 120: with 120 images at most 119 clusters"):
        choose_k(view, first=120, last=130)
    with pytest.raises(NotFoundError, match="has no space 'none'; it has: tiny"):
        choose_k(view, space="none")
    with pytest.raises(NotBuiltError, match="has 1 images; at least 2"):
        choose_k(opened(make_collection(np.ones((1, 4), np.float32), name="one")))
    with pytest.raises(NotBuiltError, match="All 30 images of tiny have the same embedding"):
        choose_k(opened(make_collection(np.ones((30, 4), np.float32), name="same")), last=3)
    with pytest.raises(IndexerError, match="NaN or infinite"):
        choose_k(opened(make_collection(np.full((30, 4), np.nan, np.float32), name="nan")), last=3)
