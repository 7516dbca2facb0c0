"""Moves of single images and swaps of groups, after Lloyd's algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from lookalike_indexer.clustering import local_search
from lookalike_indexer.clustering.exchange import Exchange, Work
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.lloyd import best_lloyd, lloyd
from lookalike_indexer.clustering.local_search import searchable, searched
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.numerics.grid import on_grid
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare


@pytest.fixture
def points(clustered) -> np.ndarray:
    """Return 200 unit vectors on the grid, in 24 overlapping groups."""
    return on_grid(prepare(clustered(200, 40, 24, spread=0.9), "cosine"))


def inertia_of(points: np.ndarray, clusters: np.ndarray) -> float:
    groups = [points[clusters == group] for group in np.unique(clusters)]
    return sum(float(np.square(group - group.mean(axis=0)).sum()) for group in groups)


def similarity_of(points: np.ndarray, clusters: np.ndarray) -> float:
    return sum(float(np.linalg.norm(points[clusters == group].sum(axis=0))) for group in np.unique(clusters))


@pytest.mark.parametrize("spherical", [False, True])
def test_no_single_move_makes_settled_groups_better(points, spherical):
    groups = Exchange(points, lloyd(points, 12, 1).clusters, 12, spherical, Work(1e9))
    groups.settle()
    measured = similarity_of if spherical else (lambda *each: -inertia_of(*each))
    reached = measured(points, groups.clusters)
    for row in range(0, 200, 5):
        for group in range(12):
            moved = groups.clusters.copy()
            moved[row] = group
            assert measured(points, moved) <= reached + 1e-7


def test_objective_and_sums_match_the_groups(points):
    groups = searched(points, [lloyd(points, 9, seed).clusters for seed in range(3)], 9)
    for group in range(9):
        np.testing.assert_array_equal(groups.sums[group], points[groups.clusters == group].sum(axis=0))
    np.testing.assert_array_equal(groups.sizes, np.bincount(groups.clusters, minlength=9))
    assert np.square(points).sum() - groups.objective == pytest.approx(inertia_of(points, groups.clusters), rel=1e-12)


def test_swap_moves_a_centroid_to_another_part_of_the_space(clustered):
    """Two centroids share a group and one has two groups: moves of single images cannot fix this."""
    vectors = on_grid(prepare(clustered(120, 16, 4, spread=0.02), "cosine"))
    truth = np.arange(120) % 4
    wrong = np.where(truth == 3, 2, truth)
    wrong[np.flatnonzero(truth == 0)[:15]] = 3
    stuck = Exchange(vectors, wrong, 4, False, Work(1e9))
    stuck.settle()
    assert len(np.unique(stuck.clusters[truth == 2])) == len(np.unique(stuck.clusters[truth == 3])) == 1
    assert stuck.clusters[2] == stuck.clusters[3]
    found = searched(vectors, [wrong], 4)
    assert len({tuple(np.unique(truth[found.clusters == group])) for group in range(4)}) == 4
    assert all(len(np.unique(truth[found.clusters == group])) == 1 for group in range(4))


@pytest.mark.parametrize("k", [5, 20, 60])
def test_inertia_is_at_most_that_of_scikit_learn(points, k):
    vectors = points.astype(np.float32)
    found = train(vectors, k, ClusterSettings(restarts=10), Silent())
    for expected in (KMeans(k, n_init=10, random_state=seed).fit(vectors).inertia_ for seed in range(2)):
        assert found.inertia[-1] <= 1.002 * expected
        assert best_lloyd(points, k, 1, 10).inertia <= 1.002 * expected


def test_order_of_the_dimensions_changes_nothing(points):
    """The sums of a product in another order, as other threads would add them, have the same bits."""
    start = lloyd(points, 10, 3).clusters
    settled = [Exchange(each, start, 10, False, Work(1e9)) for each in (points, points[:, ::-1].copy())]
    for groups in settled:
        groups.settle()
    np.testing.assert_array_equal(settled[0].clusters, settled[1].clusters)


def test_used_up_work_limit_ends_the_search_with_the_best_so_far(points, monkeypatch):
    start = lloyd(points, 12, 1).clusters
    monkeypatch.setattr(local_search, "_MOVES", 3e5)
    monkeypatch.setattr(local_search, "_SWAPS", 1.0)
    some = searched(points, [start], 12).objective
    monkeypatch.undo()
    assert Exchange(points, start, 12, False, Work(0)).objective <= some < searched(points, [start], 12).objective


def test_images_equal_up_to_rounding_stay_together():
    random = np.random.default_rng(0)
    vectors = np.repeat(np.eye(4, 30, dtype=np.float32), 20, axis=0)
    vectors += np.float32(1e-8) * random.standard_normal(vectors.shape).astype(np.float32)
    found = searched(on_grid(vectors), [np.repeat(np.arange(4), 20)], 4)
    np.testing.assert_array_equal(found.clusters, np.repeat(np.arange(4), 20))


def test_large_tasks_are_left_as_they_are():
    assert searchable(4_000, 100, 2048)
    assert not searchable(4_000, 1, 2048)
    assert not searchable(25_600, 100, 2048)
    assert not searchable(1_000_000, 4_000, 64)
