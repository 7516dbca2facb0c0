"""The initial rows of k-means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from lookalike_indexer.clustering import seeding
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.seeding import starting_rows
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.metric import prepare


def test_start_has_a_row_of_each_group_far_from_the_others(clustered):
    vectors = clustered(600, 200, 12, spread=0.02)
    for seed in range(5):
        assert sorted(rows % 12 for rows in starting_rows(vectors, 12, seed).tolist()) == list(range(12))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_length_of_the_vectors_changes_no_start(clustered, scale: float):
    vectors = prepare(clustered(300, 100, 7, spread=0.5), "cosine")
    # Scale by the nearest power of two, which changes no bit of a mantissa.
    scaled = vectors * np.float32(2.0 ** round(np.log2(scale)))
    np.testing.assert_array_equal(starting_rows(scaled, 7, 3), starting_rows(vectors, 7, 3))


def test_starting_rows_are_distinct_despite_copies():
    vectors = np.repeat(np.eye(6, 100, dtype=np.float32), [80, 1, 1, 1, 1, 1], axis=0)
    vectors[1:5] += np.float32(1e-7)
    rows = starting_rows(vectors, 5, 1)
    assert len(set(rows.tolist())) == 5


def test_many_centroids_start_from_random_rows(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    monkeypatch.setattr(seeding, "_MOST_OPERATIONS", 1e5)
    rows = starting_rows(vectors, 300, 4)
    assert len(set(rows.tolist())) == 300
    assert set(rows.tolist()) == set(starting_rows(vectors[:, :4].copy(), 300, 4).tolist())


@pytest.mark.parametrize("k", [5, 12, 30])
def test_clusters_are_as_tight_as_those_of_scikit_learn(clustered, k: int):
    vectors = prepare(clustered(1500, 64, 12, spread=0.6), "cosine")
    found = train(vectors, k, ClusterSettings(restarts=10, iterations=100), Silent())
    expected = KMeans(k, n_init=10, random_state=0).fit(vectors).inertia_
    assert found.inertia[-1] <= 1.01 * expected
