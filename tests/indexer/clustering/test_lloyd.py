from __future__ import annotations

import faiss
import numpy as np
import pytest

from lookalike_indexer.clustering.lloyd import best_lloyd, lloyd
from lookalike_indexer.numerics.grid import on_grid
from lookalike_indexer.vectors.metric import prepare


@pytest.fixture
def points(clustered) -> np.ndarray:
    """Return 300 unit vectors in 5 overlapping groups, on the grid."""
    return on_grid(prepare(clustered(300, 80, 5, spread=0.8), "cosine"))


def test_each_point_is_with_its_nearest_centroid_and_each_centroid_is_a_mean(points):
    found = lloyd(points, 5, seed=1, iterations=100)
    apart = np.linalg.norm(points[:, None] - found.centroids[None], axis=2)
    np.testing.assert_array_equal(found.clusters, apart.argmin(axis=1))
    assert found.inertia == pytest.approx(np.square(apart.min(axis=1)).sum(), rel=1e-9)
    for cluster, centroid in enumerate(found.centroids):
        np.testing.assert_allclose(points[found.clusters == cluster].mean(axis=0), centroid, atol=1e-7)


def test_it_is_as_good_as_faiss(points):
    kmeans = faiss.Kmeans(80, 5, niter=25, nredo=10, seed=1, min_points_per_centroid=1)
    kmeans.train(points.astype(np.float32))
    assert best_lloyd(points, 5, seed=1, starts=10).inertia <= 1.01 * kmeans.obj[-1]


def test_order_of_the_dimensions_changes_nothing(points):
    """Sums in another order have the same bits; in few dimensions, in which the start is not projected."""
    few = on_grid(prepare(points[:, :40], "cosine"))
    found, turned = lloyd(few, 7, seed=3), lloyd(few[:, ::-1].copy(), 7, seed=3)
    np.testing.assert_array_equal(found.clusters, turned.clusters)
    assert found.centroids.tobytes() == turned.centroids[:, ::-1].copy().tobytes()


def test_spherical_centroids_have_unit_length(points):
    np.testing.assert_allclose(np.linalg.norm(lloyd(points, 4, 1, spherical=True).centroids, axis=1), 1, atol=1e-6)


def test_few_different_points_are_the_centroids_and_the_rest_stays_empty():
    points = on_grid(np.repeat(np.eye(3), [4, 1, 2], axis=0))
    found = lloyd(points, 5, seed=0)
    np.testing.assert_array_equal(found.centroids, np.eye(3)[[0, 1, 2, 0, 0]])
    assert np.bincount(found.clusters, minlength=5).tolist() == [4, 1, 2, 0, 0]
    assert found.inertia == 0


@pytest.mark.parametrize("spherical", [False, True])
def test_no_cluster_of_many_copies_stays_empty(spherical: bool):
    points = on_grid(np.repeat(np.eye(6), [50, 1, 1, 1, 1, 1], axis=0))
    for seed in range(5):
        found = lloyd(points, 5, seed, spherical=spherical)
        assert len(np.unique(found.clusters)) == 5


@pytest.mark.parametrize("k", [1, 3])
def test_vectors_of_zeros_are_one_group(k: int):
    found = lloyd(np.zeros((4, 8)), k, seed=0, spherical=True)
    assert found.clusters.tolist() == [0] * 4
    assert found.inertia == 0
