from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare


def brute_force(vectors, queries, k, metric, numbers=None):
    """Return the k nearest by a float64 comparison with all; ties in float32 are sorted by number."""
    numbers = np.arange(len(vectors)) if numbers is None else numbers
    x, q = prepare(vectors, metric).astype(np.float64), prepare(queries, metric).astype(np.float64)
    if metric == "l2":
        distances = np.sqrt(np.square(q[:, None] - x[None]).sum(axis=2))
    else:
        distances = np.maximum(1 - (q[:, None] * x[None]).sum(axis=2), 0)
    distances = distances.astype(np.float32)
    order = np.stack([np.lexsort((numbers, row)) for row in distances])[:, :k]
    return numbers[order], np.take_along_axis(distances, order, axis=1)


def blocks(vectors, size, numbers=None):
    numbers = np.arange(len(vectors)) if numbers is None else numbers
    for start in range(0, len(vectors), size):
        yield numbers[start : start + size], vectors[start : start + size]


def noise(rows, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("size", [1, 7, 100, 999, 1000, 5000])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_equals_brute_force(metric, size, k):
    vectors, queries = noise(1000, 24), noise(30, 24, seed=1)
    rows, distances = exact_search(blocks(vectors, size), queries, k, metric)
    expected_rows, expected = brute_force(vectors, queries, k, metric)
    assert rows.dtype == np.int64
    assert distances.dtype == np.float32
    assert np.array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_neither_block_size_nor_batch_size_changes_a_bit(metric):
    vectors, queries = noise(600, 512), noise(50, 512, seed=1)
    rows, distances = exact_search(blocks(vectors, 600), queries, 20, metric)
    for size, batch in [(1, 50), (64, 1), (65, 7), (599, 49)]:
        pieces = [
            exact_search(blocks(vectors, size), queries[start : start + batch], 20, metric)
            for start in range(0, 50, batch)
        ]
        assert np.array_equal(np.concatenate([piece[0] for piece in pieces]), rows)
        assert np.concatenate([piece[1] for piece in pieces]).tobytes() == distances.tobytes()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("size", [1, 3, 11, 40])
def test_duplicates_come_by_ascending_row(metric, size):
    vectors = np.tile(noise(4, 8), (10, 1))
    rows, distances = exact_search(blocks(vectors, size), vectors[:4], 10, metric)
    for query in range(4):
        assert rows[query].tolist() == list(range(query, 40, 4))
    np.testing.assert_allclose(distances, 0, atol=1e-7)


def test_numbers_need_not_ascend():
    vectors = np.ones((6, 3), np.float32)
    numbers = np.array([50, 40, 60, 10, 30, 20])
    rows, _ = exact_search(blocks(vectors, 2, numbers), vectors[:1], 3, "cosine")
    assert rows.tolist() == [[10, 20, 30]]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("size", [2, 5, 100])
def test_more_neighbors_than_there_are(metric, size):
    vectors, queries = noise(5, 8), noise(3, 8, seed=1)
    rows, distances = exact_search(blocks(vectors, size), queries, 8, metric)
    expected_rows, expected = brute_force(vectors, queries, 8, metric)
    assert np.array_equal(rows[:, :5], expected_rows)
    np.testing.assert_allclose(distances[:, :5], expected, rtol=1e-6, atol=1e-7)
    assert (rows[:, 5:] == -1).all()
    assert np.isposinf(distances[:, 5:]).all()


def test_no_rows_at_all():
    rows, distances = exact_search([], noise(2, 8), 3, "cosine")
    assert (rows == -1).all()
    assert np.isposinf(distances).all()


def test_no_queries():
    rows, distances = exact_search(blocks(noise(9, 4), 4), np.empty((0, 4), np.float32), 3, "l2")
    assert rows.shape == distances.shape == (0, 3)


@pytest.mark.parametrize("offset", [1000, 100_000])
def test_vectors_far_from_the_origin_are_distinguished(offset):
    """In float32 the usual |x|^2 + |q|^2 - 2qx loses all digits for these."""
    vectors = (offset + noise(500, 16)).astype(np.float32)
    queries = (offset + noise(20, 16, seed=1)).astype(np.float32)
    naive = np.square(vectors).sum(axis=1) - 2 * queries @ vectors.T
    expected_rows, expected = brute_force(vectors, queries, 10, "l2")
    assert not np.array_equal(np.argsort(naive, axis=1)[:, :10], expected_rows)
    rows, distances = exact_search(blocks(vectors, 64), queries, 10, "l2")
    assert np.array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


def test_zero_query_is_as_far_from_everything():
    rows, distances = exact_search(blocks(noise(50, 4), 7), np.zeros((1, 4), np.float32), 5, "cosine")
    assert rows.tolist() == [[0, 1, 2, 3, 4]]
    assert (distances == 1).all()


@settings(max_examples=80)
@given(data=st.data())
def test_any_vectors_in_any_blocks_equal_brute_force(data):
    dim = data.draw(st.integers(1, 5))
    values = st.sampled_from([0, 1, -1, 2, 0.5, 2**-10, 4096.0, 4096 + 2**-11])
    vectors = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(1, 40)), dim), elements=values))
    queries = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(1, 6)), dim), elements=values))
    size, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    rows, distances = exact_search(blocks(vectors, size), queries, k, "l2")
    expected_rows, expected = brute_force(vectors, queries, k, "l2")
    there = min(k, len(vectors))
    assert np.array_equal(rows[:, :there], expected_rows)
    np.testing.assert_allclose(distances[:, :there], expected, rtol=1e-6)


def test_streams_a_collection(make_collection, clustered):
    vectors = clustered(230, 8, 5)
    storage = make_collection(vectors, part_rows=[50, 0, 100, 80])
    reader = CollectionReader(storage, generations.require_latest(storage))
    ids, _ = exact_search(reader.stream(rows=33), vectors[:9], 4, "cosine")
    expected, _ = brute_force(vectors, vectors[:9], 4, "cosine")
    assert np.array_equal(ids, expected * 3 + 1)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones((1, 4), np.float32), 0, "k is 0"),
        (np.ones((1, 5), np.float32), 1, "The queries have 5 dimensions, the stored vectors 4"),
        (np.array([[1, 2, np.nan, 4]], np.float32), 1, "NaN or infinite"),
        (np.array([[1, 2, np.inf, 4]], np.float32), 1, "NaN or infinite"),
    ],
)
def test_invalid_arguments_are_rejected(queries, k, message):
    with pytest.raises(UsageError, match=message):
        exact_search(blocks(noise(9, 4), 9), queries, k, "cosine")


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("size", [1, 64, 1000])
def test_query_finds_only_the_rows_that_it_is_allowed(metric, size):
    vectors, queries = noise(1000, 24), noise(6, 24, seed=1)
    random = np.random.default_rng(2)
    third, few, none = random.random(1000) < 0.3, np.zeros(1000, bool), np.zeros(1000, bool)
    few[[3, 500, 999]] = True
    allowed = [third, few, None, none, third, few]
    rows, distances = exact_search(blocks(vectors, size), queries, 10, metric, allowed)
    for line, mask in enumerate(allowed):
        numbers = np.arange(1000) if mask is None else np.flatnonzero(mask)
        there = min(10, len(numbers))
        expected_rows, expected = brute_force(vectors[numbers], queries[line : line + 1], 10, metric, numbers)
        assert rows[line].tolist() == [*expected_rows[0], *[-1] * (10 - there)]
        np.testing.assert_allclose(distances[line, :there], expected[0], rtol=1e-6, atol=1e-7)
        assert np.isinf(distances[line, there:]).all()
    alone = exact_search(blocks(vectors, 77), queries[:1], 10, metric, [third.copy()])
    assert np.array_equal(alone[0], rows[:1])
    assert np.array_equal(alone[1], distances[:1])
