from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.clustering import int8, kmeans, reduced_precision, training_shares
from lookalike_indexer.clustering.centroid_sums import grid_spacing
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.lloyd_step import LloydStep
from lookalike_indexer.clustering.reduced_precision import ReducedShare
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.clustering.shares import cuts
from lookalike_indexer.processor import flags
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare


def reduced_step(vectors, spherical=False, devices=("cpu",)):
    """Return a step with a share of the vectors on each device."""
    spacing = grid_spacing(vectors)
    limits = cuts(len(vectors), len(devices))
    shares = [
        ReducedShare(vectors[start:stop], spacing, device)
        for device, (start, stop) in zip(devices, limits, strict=False)
    ]
    return LloydStep(shares, spherical)


def exact_step(vectors, centroids):
    """Return one update and the inertia before it, all in float64."""
    squared = np.square(vectors[:, None, :].astype(np.float64) - centroids[None]).sum(axis=2)
    nearest = squared.argmin(axis=1)
    updated = np.stack([vectors[nearest == c].mean(axis=0, dtype=np.float64) for c in range(len(centroids))])
    return updated, squared.min(axis=1).sum()


@pytest.fixture
def always(monkeypatch):
    """Use reduced precision for every size and processor; torch supports it everywhere, if slowly."""
    monkeypatch.setattr(kmeans, "worthwhile", lambda *size: True)
    monkeypatch.setattr(int8, "supported", lambda: True)


def test_step_equals_float64_for_separated_groups(clustered):
    vectors = clustered(2500, 64, 12)
    start = vectors[:12].copy()
    updated, inertia = reduced_step(vectors)(start)
    expected, expected_inertia = exact_step(vectors, start)
    np.testing.assert_allclose(updated, expected, atol=1e-5)
    assert inertia == pytest.approx(expected_inertia, rel=1e-5)


def test_near_ties_are_decided_in_float32():
    """bfloat16 cannot distinguish the centroids: 1 and 1 + 1/1024 are one number."""
    centroids = np.array([[1, 0], [1 + 1 / 1024, 0], [-1, 0]], np.float32)
    vectors = np.repeat(np.array([[1, 0], [1 + 1 / 1024, 0], [-1, 0]], np.float32), [30, 50, 20], axis=0)
    updated, inertia = reduced_step(vectors)(centroids)
    np.testing.assert_array_equal(updated, centroids)
    assert inertia == pytest.approx(0, abs=1e-4)


@pytest.mark.usefixtures("always")
def test_training_ends_with_the_inertia_of_faiss():
    vectors = prepare(np.random.default_rng(3).standard_normal((4000, 48)).astype(np.float32), "cosine")
    settings = ClusterSettings(iterations=20, restarts=1, seed=5)
    found = train(vectors, 30, settings, Silent())
    assert all(after <= before * (1 + 1e-5) for before, after in zip(found.inertia, found.inertia[1:], strict=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kmeans, "worthwhile", lambda *size: False)
        expected = train(vectors, 30, settings, Silent())
    assert found.inertia[0] == pytest.approx(expected.inertia[0], rel=1e-4)
    assert found.inertia[-1] == pytest.approx(expected.inertia[-1], rel=5e-3)


@pytest.mark.usefixtures("always")
def test_seed_decides():
    vectors = np.random.default_rng(3).standard_normal((3000, 32)).astype(np.float32)
    first, again = (train(vectors, 20, ClusterSettings(iterations=5, restarts=1), Silent()) for _ in range(2))
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.inertia == again.inertia


def test_spherical_centroids_have_length_one(clustered):
    vectors = prepare(clustered(900, 16, 5), "cosine")
    updated, _ = reduced_step(vectors, spherical=True)(vectors[:5].copy())
    np.testing.assert_allclose(np.linalg.norm(updated, axis=1), 1, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("k", [1, 2, 300])
def test_gpu_takes_the_same_step(k):
    vectors = prepare(np.random.default_rng(1).standard_normal((70_000, 64)).astype(np.float32), "cosine")
    start = vectors[:k].copy()
    expected, inertia = reduced_step(vectors)(start)
    for devices in (["cuda:0"], ["cuda:0", "cuda:0"]):
        step = reduced_step(vectors, devices=devices)
        found, same = step(start)
        # Rounding may only change near ties beyond the four candidates.
        np.testing.assert_allclose(found, expected, atol=2e-3)
        assert same == pytest.approx(inertia, rel=1e-5)
        again, _ = step(start)
        assert again.tobytes() == found.tobytes()


@pytest.mark.gpu
def test_vectors_too_large_for_a_gpu_are_sent_in_blocks(monkeypatch, clustered):
    vectors = clustered(5000, 64, 12)
    start = vectors[:12].copy()
    kept, _ = reduced_step(vectors, devices=["cuda:0"])(start)
    monkeypatch.setattr(reduced_precision, "_has_room", lambda device, size: False)
    sent, _ = reduced_step(vectors, devices=["cuda:0"])(start)
    assert sent.tobytes() == kept.tobytes()


def test_empty_cluster_takes_half_of_the_largest():
    vectors = np.repeat(np.array([[1, 0], [0, 1]], np.float32), [60, 40], axis=0)
    far = np.array([[1, 0], [0, 1], [-50, -50]], np.float32)
    updated, _ = reduced_step(vectors)(far)
    np.testing.assert_allclose(updated[1], [0, 1])
    np.testing.assert_allclose([updated[0], updated[2]], [[1, 0], [1, 0]], atol=2e-3)
    assert updated[0, 0] != updated[2, 0]


def test_small_tasks_stay_with_faiss():
    assert training_shares.worthwhile(50_000, 256, 2048)
    assert not training_shares.worthwhile(1_000, 10, 2048)


def test_processor_without_fast_integers_compares_exactly(monkeypatch, clustered):
    vectors = clustered(500, 8, 5)
    for feature, kind in (("avx512_vnni", "ReducedShare"), ("avx512f", "ExactShare")):
        monkeypatch.setattr(int8, "flags", lambda path, feature=feature: frozenset({feature}))
        (share,) = training_shares.local_shares(vectors)
        assert type(share).__name__ == kind


def test_processor_names_its_features(tmp_path):
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nflags\t\t: fpu amx_bf16 sse\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert flags(listed) == {"fpu", "amx_bf16", "sse"}
    assert flags(tmp_path / "absent") == frozenset()
