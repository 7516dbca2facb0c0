from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike_indexer.vectors import exchange, pairs
from lookalike_indexer.vectors.exact import BestResults, exact_search
from lookalike_indexer.vectors.exchange import Side, compare_all
from lookalike_indexer.vectors.metric import prepare


def clustered(rows, dim, seed=0):
    random = np.random.default_rng(seed)
    centers = random.standard_normal((5, dim))
    return (centers[random.integers(0, 5, rows)] + 0.3 * random.standard_normal((rows, dim))).astype(np.float32)


def compared(vectors, k, metric):
    """Return the k nearest of each vector, itself included, by `compare_all`, and the counts of finished vectors."""
    numbers = 3 * np.arange(len(vectors)) + 1
    side = Side(numbers, prepare(vectors, metric), BestResults.none(len(vectors), k))
    done: list[int] = []
    compare_all(side, metric, done.append)
    return side.best, done


def expected(vectors, k, metric):
    return exact_search([(3 * np.arange(len(vectors)) + 1, vectors)], vectors, k, metric)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("block", [1, 32, 100, 1024])
def test_results_are_those_of_a_search_for_each_vector(monkeypatch, metric, block):
    monkeypatch.setattr(exchange, "_BLOCK", block)
    vectors = clustered(300, 12)
    vectors[[5, 90, 229]] = vectors[40]
    best, done = compared(vectors, 6, metric)
    rows, distances = expected(vectors, 6, metric)
    assert np.array_equal(best.rows, rows)
    assert best.distances.tobytes() == distances.tobytes()
    assert sum(done) == 300


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("most", [1, 50, 400])
def test_pairs_too_many_to_wait_are_compared_early(monkeypatch, metric, most):
    monkeypatch.setattr(exchange, "_BLOCK", 16)
    monkeypatch.setattr(exchange, "_MOST", most)
    vectors = np.tile(clustered(6, 8), (15, 1))
    best, _ = compared(vectors, 4, metric)
    rows, distances = expected(vectors, 4, metric)
    assert np.array_equal(best.rows, rows)
    assert best.distances.tobytes() == distances.tobytes()


def test_few_more_pairs_than_neighbors_are_compared_in_float64(monkeypatch):
    monkeypatch.setattr(exchange, "_BLOCK", 64)
    counted: list[int] = []

    def counting(left, left_rows, *others):
        counted.append(len(left_rows))
        return distances(left, left_rows, *others)

    distances = pairs.distances
    monkeypatch.setattr(pairs, "distances", counting)
    compared(clustered(1000, 32), 9, "cosine")
    assert sum(counted) < 1.1 * 1000 * 9


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 40),
    dim=st.integers(1, 9),
    k=st.integers(1, 12),
    block=st.integers(1, 50),
    metric=st.sampled_from(["cosine", "l2"]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_any_vectors_in_any_blocks(seed, rows, dim, k, block, metric, scale):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exchange, "_BLOCK", block)
        vectors = clustered(rows, dim, seed)
        # Some copies, and a vector far from all others.
        vectors[rows // 2 :: 3] = vectors[0]
        vectors[-1] *= scale
        best, _ = compared(vectors, k, metric)
    found, distances = expected(vectors, k, metric)
    assert np.array_equal(best.rows, found)
    assert best.distances.tobytes() == distances.tobytes()
