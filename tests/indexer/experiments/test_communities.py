from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.experiments.communities import communities
from lookalike_indexer.experiments.partition_quality import distances_between


def planted(groups: int, each: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """The distances of groups * each unit vectors around as many directions, and the group of each."""
    random = np.random.default_rng(5)
    centers = random.standard_normal((groups, 32))
    vectors = np.repeat(centers, each, axis=0) + spread * random.standard_normal((groups * each, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return distances_between(vectors.astype(np.float32), "cosine"), np.repeat(np.arange(groups), each)


def modularity(distances: np.ndarray, neighbors: int, groups: np.ndarray) -> float:
    """By its definition, over the matrix of edges."""
    apart = distances.astype(np.float64) + np.diag(np.full(len(distances), np.inf))
    edges = np.zeros_like(apart)
    np.put_along_axis(edges, np.argsort(apart, axis=1, kind="stable")[:, :neighbors], 1, axis=1)
    edges += edges.T
    degrees, total = edges.sum(axis=1), edges.sum()
    same = groups[:, None] == groups[None, :]
    return float(((edges - np.outer(degrees, degrees) / total) * same).sum() / total)


def test_groups_far_apart_are_the_communities():
    distances, groups = planted(7, 20, 0.2)
    found = communities(distances, neighbors=10, starts=3, seed=1)
    assert sorted(zip(groups.tolist(), found.tolist(), strict=True)) == sorted(
        (group, int(found[20 * group])) for group in range(7) for _ in range(20)
    )
    assert set(found.tolist()) == set(range(7))


def test_modularity_is_at_least_that_of_groups_that_overlap():
    distances, groups = planted(6, 30, 1.0)
    found = communities(distances, neighbors=10, starts=5, seed=1)
    assert modularity(distances, 10, found) >= modularity(distances, 10, groups) > 0.3


def test_communities_are_numbered_by_falling_size_and_repeat_with_the_seed():
    distances, _ = planted(5, 24, 0.9)
    found = communities(distances, neighbors=8, starts=2, seed=3)
    sizes = np.bincount(found)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    assert found.tolist() == communities(distances, neighbors=8, starts=2, seed=3).tolist()


@pytest.mark.parametrize("images", [2, 5, 11])
def test_mutual_neighbors_are_one_community(images: int):
    distances = np.ones((images, images), np.float32) - np.eye(images, dtype=np.float32)
    assert communities(distances, neighbors=10, starts=2, seed=0).tolist() == [0] * images
