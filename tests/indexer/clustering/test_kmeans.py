from __future__ import annotations

from contextlib import contextmanager

import faiss
import numpy as np
import pytest

from lookalike_indexer.clustering import kmeans
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.flat import flat_index
from lookalike_indexer.vectors.metric import prepare


class Recorded:
    """Records the values of a progress bar."""

    def __init__(self):
        self.stages = []
        self.notes = []
        self.advanced = 0

    @contextmanager
    def stage(self, name, total, unit, done=0):
        self.stages.append((name, total, unit))
        yield self

    def advance(self, amount=1):
        self.advanced += amount

    def note(self, text):
        self.notes.append(text)


def stock(vectors, k, settings, restart=0):
    """Run faiss.Kmeans once with the same parameters and start."""
    seed = kmeans.seed_of(settings, restart)
    trainer = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=settings.iterations,
        seed=seed,
        spherical=settings.spherical,
        min_points_per_centroid=1,
        max_points_per_centroid=10**9,
    )
    trainer.train(vectors, init_centroids=kmeans.start_of(vectors, k, settings, seed))
    return trainer


def best_stock(vectors, k, settings):
    """Return the best of its restarts; for spherical centroids, the objective is a sum of similarities."""
    runs = [stock(vectors, k, settings, restart) for restart in range(settings.restarts)]
    return (max if settings.spherical else min)(runs, key=lambda run: run.obj[-1])


@pytest.fixture
def lloyd_alone(monkeypatch):
    """Make every task too large for the local search after Lloyd's iterations."""
    monkeypatch.setattr(kmeans, "searchable", lambda *size: False)


def noise(rows=3000, dim=32, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@pytest.mark.parametrize("restarts", [1, 4])
def test_iterations_equal_one_run_of_faiss(restarts, lloyd_alone):
    vectors = noise()
    settings = ClusterSettings(iterations=12, restarts=restarts, seed=5)
    expected = best_stock(vectors, 40, settings)
    found = train(vectors, 40, settings, Silent())
    assert np.array_equal(found.centroids, expected.centroids)
    assert found.inertia == expected.obj.tolist()


@pytest.mark.parametrize("restarts", [1, 4])
def test_spherical_equals_one_run_of_faiss(restarts, lloyd_alone):
    vectors = prepare(noise(), "cosine")
    settings = ClusterSettings(iterations=12, restarts=restarts, seed=5, strategy="spherical")
    expected = best_stock(vectors, 40, settings)
    found = train(vectors, 40, settings, Silent())
    # faiss finds the most similar unit centroid, Lookalike the nearest one: the same one, with other rounding.
    np.testing.assert_allclose(found.centroids, expected.centroids, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1, atol=1e-6)


def test_kmeans_searches_in_an_index_for_the_chosen_gpus(monkeypatch, lloyd_alone):
    """faiss.Kmeans takes only a number of GPUs, so the index is made for exactly the requested ones."""
    asked = []

    def recording(dim, metric, gpus=()):
        asked.append(tuple(gpus))
        return flat_index(dim, metric)

    monkeypatch.setattr("lookalike_indexer.clustering.kmeans.flat_index", recording)
    found = train(noise(), 10, ClusterSettings(iterations=3, gpus=(1, 3)), Silent())
    assert asked == [(1, 3)]
    assert np.array_equal(found.centroids, train(noise(), 10, ClusterSettings(iterations=3), Silent()).centroids)


def test_inertia_is_the_sum_of_squared_distances_before_each_update(lloyd_alone):
    vectors = noise(500, 8)
    one = train(vectors, 10, ClusterSettings(iterations=1), Silent())
    two = train(vectors, 10, ClusterSettings(iterations=2), Silent())
    squared = np.square(vectors[:, None, :].astype(np.float64) - one.centroids[None]).sum(axis=2)
    assert two.inertia[0] == one.inertia[0]
    assert two.inertia[1] == pytest.approx(squared.min(axis=1).sum(), rel=1e-5)


def test_inertia_never_rises_and_is_shown_for_each_iteration():
    progress = Recorded()
    found = train(noise(), 30, ClusterSettings(iterations=15, restarts=2), progress)
    assert progress.stages == [("k-means++", 2, "start"), ("k-means", 30, "iteration")]
    assert progress.advanced == 2 + 30
    assert progress.notes[-1].startswith("inertia ")
    # The last value is the result of the local search.
    assert len(found.inertia) == 15 + 1
    assert all(after <= before * (1 + 1e-6) for before, after in zip(found.inertia, found.inertia[1:], strict=False))


def test_best_restart_is_kept(lloyd_alone):
    vectors = noise(2000, 4)
    settings = [ClusterSettings(iterations=5, seed=(11 + restart * 15486557) % 2**31) for restart in range(6)]
    last = [train(vectors, 25, each, Silent()).inertia[-1] for each in settings]
    assert len(set(last)) > 1
    best = train(vectors, 25, ClusterSettings(iterations=5, seed=11, restarts=6), Silent())
    assert best.inertia[-1] == min(last)


def test_settled_run_ends_early_with_what_all_iterations_would_give(clustered, lloyd_alone):
    vectors = clustered(300, 8, 5)
    expected = stock(vectors, 5, ClusterSettings(iterations=60))
    progress = Recorded()
    found = train(vectors, 5, ClusterSettings(iterations=60), progress)
    assert np.array_equal(found.centroids, expected.centroids)
    assert found.inertia == expected.obj[: len(found.inertia)].tolist()
    assert set(expected.obj[len(found.inertia) :].tolist()) <= {found.inertia[-1]}
    assert progress.advanced == 1 + 60
    assert len(found.inertia) == len(progress.notes) < 60


def test_well_separated_groups_are_found(clustered):
    vectors = clustered(600, 16, 6, spread=0.05)
    found = train(vectors, 6, ClusterSettings(restarts=50), Silent())
    nearest = np.square(vectors[:, None] - found.centroids[None]).sum(axis=2).argmin(axis=1)
    groups = nearest.reshape(-1, 6)
    assert (groups == groups[0]).all()
    assert len(set(groups[0])) == 6


def test_duplicates_only_make_one_cluster_at_that_point_and_the_rest_its_copies():
    vectors = np.full((500, 4), 0.25, np.float32)
    found = train(vectors, 3, ClusterSettings(), Silent())
    assert np.array_equal(found.centroids, vectors[:3])
    assert found.inertia == [0]


def test_k_distinct_vectors_become_the_k_centroids():
    different = noise(5, 4)
    vectors = np.tile(different, (7, 1))
    found = train(vectors, 5, ClusterSettings(), Silent())
    assert np.array_equal(found.centroids, different)
    assert found.inertia == [0]


def test_zeros_of_either_sign_are_the_same_vector():
    vectors = np.array([[0.0, 1], [-0.0, 1], [2, 2]], np.float32)
    found = train(vectors, 3, ClusterSettings(), Silent())
    assert np.array_equal(found.centroids, [[0, 1], [2, 2], [0, 1]])


def test_spherical_centroids_of_few_different_vectors_are_on_the_sphere():
    vectors = np.array([[3, 4], [0, 5], [3, 4]], np.float32)
    found = train(vectors, 2, ClusterSettings(strategy="spherical", metric="l2"), Silent())
    np.testing.assert_allclose(found.centroids, [[0.6, 0.8], [0, 1]], rtol=1e-6)
    assert found.inertia == [pytest.approx(16 + 16 + 16)]


def test_seed_decides(lloyd_alone):
    vectors = noise()
    first = train(vectors, 20, ClusterSettings(iterations=4, seed=1), Silent())
    again = train(vectors, 20, ClusterSettings(iterations=4, seed=1), Silent())
    other = train(vectors, 20, ClusterSettings(iterations=4, seed=2), Silent())
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.centroids.tobytes() != other.centroids.tobytes()


@pytest.mark.gpu
def test_large_task_ends_on_gpus_with_the_inertia_of_faiss(monkeypatch):
    vectors = prepare(noise(50_000, 256), "cosine")
    settings = ClusterSettings(iterations=8, restarts=1, gpus=tuple(range(faiss.get_num_gpus())))
    assert kmeans.worthwhile(50_000, 200, 256, settings.gpus)
    found = train(vectors, 200, settings, Silent())
    monkeypatch.setattr(kmeans, "worthwhile", lambda *size: False)
    expected = train(vectors, 200, settings, Silent())
    assert found.inertia[0] == pytest.approx(expected.inertia[0], rel=1e-4)
    assert found.inertia[-1] == pytest.approx(expected.inertia[-1], rel=1e-3)


@pytest.mark.gpu
def test_gpus_find_the_same_clusters(clustered):
    vectors = clustered(20_000, 64, 30)
    settings = ClusterSettings(iterations=10)
    on_cpu = train(vectors, 30, settings, Silent())
    gpus = tuple(range(faiss.get_num_gpus()))
    on_gpu = train(vectors, 30, ClusterSettings(iterations=10, gpus=gpus), Silent())
    # Rounding may assign a vector between two centroids to either: one of about 700 moves a centroid this far.
    np.testing.assert_allclose(on_gpu.centroids, on_cpu.centroids, atol=2e-2)
    np.testing.assert_allclose(on_gpu.inertia, on_cpu.inertia, rtol=1e-5)
