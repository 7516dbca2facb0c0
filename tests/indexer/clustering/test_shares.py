"""Large tasks of k-means: the same bytes for any number of shares, threads and machines."""

from __future__ import annotations

import itertools

import faiss
import numpy as np
import pytest
import torch
from tests.indexer.machines.fake_ray import machines_without_ray

from lookalike_indexer.clustering import exact_share, int8, kmeans, machine_share, reduced_precision, shares
from lookalike_indexer.clustering.assign import Assigner, assign
from lookalike_indexer.clustering.centroid_sums import grid_spacing
from lookalike_indexer.clustering.exact_share import ExactShare
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.lloyd_step import LloydStep
from lookalike_indexer.clustering.machine_share import open_share
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.shares import cuts
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare

PRECISIONS = ["exact", "int8"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Divide small tasks into shares, too."""
    for module in (shares, exact_share, reduced_precision):
        monkeypatch.setattr(module, "BLOCK", 256)
    monkeypatch.setattr(machine_share, "_PIECE", 1 << 14)
    monkeypatch.setattr(kmeans, "worthwhile", lambda *size: True)
    monkeypatch.setattr(kmeans, "searchable", lambda *size: False)


def blurred(rows=3000, dim=48, seed=0):
    """Return unit vectors between centroids, and copies of some."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((rows, dim)).astype(np.float32) + 1
    vectors[rows // 2 :: 7] = vectors[0]
    return prepare(vectors, "cosine")


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 3000])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_cuts_follow_each_other_at_multiples_of_a_block(small_blocks, rows, count):
    limits = cuts(rows, count)
    assert limits[0][0] == 0
    assert limits[-1][1] == rows
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(limits))
    assert all(start % 256 == 0 and start < stop for start, stop in limits)
    assert len(limits) == min(count, -(-rows // 256))


def test_nearest_centroid_is_that_of_an_assignment():
    vectors = blurred()
    centroids = np.concatenate([vectors[:40], vectors[:40]])
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    for some in (centroids, centroids[:1]):
        assert np.array_equal(Assigner(some).nearest(vectors, norms), assign(vectors, some).clusters)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("scale", [1, 1e-6, 300])
def test_step_does_not_depend_on_shares_or_earlier_steps(small_blocks, precision, scale):
    vectors = blurred() * np.float32(scale)
    spacing = grid_spacing(vectors)
    found = []
    for count in (1, 2, 3):
        parts = [open_share(vectors[start:stop], spacing, precision) for start, stop in cuts(len(vectors), count)]
        step = LloydStep(parts, spherical=False)
        centroids, inertia = vectors[:20].copy(), []
        for _ in range(count):
            step(vectors[100:120].copy())
        for _ in range(4):
            centroids, before = step(centroids)
            inertia.append(before)
        found.append((centroids.tobytes(), inertia))
    assert found[0] == found[1] == found[2]


def test_one_long_vector_leaves_the_sums_of_others_accurate(small_blocks):
    vectors = blurred()
    vectors[0] *= np.float32(1e5)
    centroids = np.concatenate([vectors[:1], vectors[100:110]])
    moved, _ = LloydStep([ExactShare(vectors, grid_spacing(vectors))], spherical=False)(centroids)
    nearest = assign(vectors, centroids).clusters
    for cluster in range(1, 11):
        expected = vectors[nearest == cluster].mean(axis=0, dtype=np.float64)
        assert np.allclose(moved[cluster], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_exact_shares_do_not_depend_on_threads(small_blocks, request):
    vectors, found = blurred(), []
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    request.addfinalizer(lambda: (torch.set_num_threads(before[0]), faiss.omp_set_num_threads(before[1])))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)
        step = LloydStep([ExactShare(vectors, grid_spacing(vectors))], spherical=True)
        centroids, inertia = step(step(vectors[:20].copy())[0])
        found.append((centroids.tobytes(), inertia))
    assert found[0] == found[1]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("strategy", ["kmeans", "spherical"])
def test_training_ends_with_the_inertia_of_faiss(small_blocks, monkeypatch, precision, strategy):
    monkeypatch.setattr(int8, "supported", lambda: precision == "int8")
    vectors = blurred()
    settings = ClusterSettings(iterations=20, restarts=1, seed=5, strategy=strategy)
    found = train(vectors, 30, settings, Silent())
    monkeypatch.setattr(kmeans, "worthwhile", lambda *size: False)
    expected = train(vectors, 30, settings, Silent())
    assert found.inertia[0] == pytest.approx(expected.inertia[0], rel=1e-5)
    assert found.inertia[-1] <= 1.001 * expected.inertia[-1]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("machines", "losses"), [(1, 0), (2, 0), (3, 0), (1, 1), (3, 2)])
def test_machines_train_the_bytes_of_one_process(small_blocks, monkeypatch, precision, machines, losses):
    monkeypatch.setattr(int8, "supported", lambda: precision == "int8")
    vectors = blurred()
    settings = ClusterSettings(iterations=6, restarts=2, seed=5)
    expected = train(vectors, 30, settings, Silent())
    cluster = machines_without_ray(monkeypatch, ["a", "b", "c"][:machines], losses, at=3)
    found = train(vectors, 30, settings, Silent(), cluster)
    assert found.centroids.tobytes() == expected.centroids.tobytes()
    assert found.inertia == expected.inertia
    assert cluster._ray.losses == 0


def test_share_that_ends_one_worker_after_another_is_named(small_blocks, monkeypatch):
    cluster = machines_without_ray(monkeypatch, ["a", "b"], 6, at=0)
    with pytest.raises(DeviceError, match=r"3 workers ended during share of the training images 0; the last one was"):
        train(blurred(), 30, ClusterSettings(iterations=6, restarts=1), Silent(), cluster)
