from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.experiments.metrics import agreement, contingency
from lookalike_indexer.experiments.partitions import STRATEGIES, best_kmeans, inertia, kmeans_once
from lookalike_indexer.vectors.metric import prepare


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_finds_groups_far_apart(strategy: str, clustered):
    vectors = prepare(clustered(90, 80, 5), "cosine")
    groups = STRATEGIES[strategy](vectors, 5, 1234)
    assert groups.dtype == np.int32
    truth = (np.arange(90) % 5).astype(np.int32)
    assert agreement(contingency(truth, groups)).ari == 1.0
    assert np.array_equal(groups, STRATEGIES[strategy](vectors, 5, 1234))


def test_spherical_centroids_have_unit_length(clustered):
    vectors = prepare(clustered(60, 8, 3, spread=0.8), "cosine")
    centroids, _ = kmeans_once(vectors, 3, 1, spherical=True)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
    plain, _ = kmeans_once(vectors, 3, 1)
    assert (np.linalg.norm(plain, axis=1) < 0.99).all()


def test_best_start_is_kept_and_made_better(clustered):
    vectors = prepare(clustered(200, 8, 12, spread=0.5), "cosine")
    best = inertia(best_kmeans(vectors, 12, 5)[1])
    assert best < min(inertia(kmeans_once(vectors, 12, 5 + start)[1]) for start in range(10))
