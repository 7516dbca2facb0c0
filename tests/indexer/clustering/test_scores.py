from __future__ import annotations

import numpy as np
import pytest
import torch

from lookalike_indexer.clustering.bfloat16 import Bfloat16Scores
from lookalike_indexer.clustering.centroid_sums import IncrementalSums
from lookalike_indexer.clustering.int8 import Int8Scores

WAYS = {"int8": Int8Scores, "bfloat16": lambda vectors: Bfloat16Scores(vectors, torch.device("cpu"))}


def embeddings(rows: int, seed: int) -> torch.Tensor:
    """Return unit vectors with long tails, like a network's embeddings after its last ReLU."""
    values = np.random.default_rng(seed).gamma(0.3, size=(rows, 512)).astype(np.float32)
    return torch.from_numpy(values / np.linalg.norm(values, axis=1, keepdims=True))


def exact(vectors: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    return centroids.double().square().sum(dim=1) / 2 - vectors.double() @ centroids.double().T


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_score_differences_are_within_the_error_bound(way, scale):
    vectors, centroids = embeddings(700, 1) * scale, embeddings(40, 2) * scale
    scores = WAYS[way](vectors)
    scores.set_centroids(centroids, centroids.square().sum(dim=1))
    found, truth = scores.between(100, 700), exact(vectors[100:], centroids)
    best, candidates = found.topk(2, dim=1, largest=False)
    error = scores.gap_error(100, best, candidates)
    true = truth.gather(1, candidates)
    wrong = ((best[:, 1] - best[:, 0]) - (true[:, 1] - true[:, 0])).abs()
    # The bound is about four deviations, and not so wide that everything would be checked again.
    assert (wrong <= error).float().mean() > 0.999
    spread = (truth - truth.mean(dim=1, keepdim=True)).abs().mean()
    assert error.mean() < 0.5 * spread
    assert wrong.mean() > error.mean() / 1000


@pytest.mark.parametrize("way", WAYS)
def test_zero_vectors_and_centroids_have_scores(way):
    vectors = torch.zeros((5, 512))
    scores = WAYS[way](vectors)
    centroids = torch.cat([torch.zeros((1, 512)), embeddings(2, 3)])
    scores.set_centroids(centroids, centroids.square().sum(dim=1))
    np.testing.assert_allclose(scores.between(0, 5), np.tile([0, 0.5, 0.5], (5, 1)), atol=2e-3)


def test_sums_follow_what_moves():
    random = np.random.default_rng(4)
    vectors = torch.from_numpy(random.standard_normal((300, 16)).astype(np.float32))
    sums = IncrementalSums(300, 2.0**-30)
    for _ in range(4):
        nearest = torch.from_numpy(random.integers(0, 7, 300))
        sums.begin(torch.zeros((7, 16)))
        for start in (0, 128, 256):
            sums.add(start, vectors[start : start + 128], nearest[start : start + 128], torch.empty(0))
        expected = torch.zeros((7, 16), dtype=torch.float64).index_add_(0, nearest, vectors.double())
        np.testing.assert_allclose(sums.total, expected, atol=1e-5)
