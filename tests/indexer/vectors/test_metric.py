from __future__ import annotations

import faiss
import numpy as np
import pytest

from lookalike_indexer.vectors.metric import faiss_metric, prepare, to_distances


def test_cosine_makes_unit_vectors_and_leaves_the_callers_alone():
    vectors = np.array([[3, 4], [0, 0], [-2, 0]], np.float32)
    before = vectors.copy()
    prepared = prepare(vectors, "cosine")
    np.testing.assert_array_equal(prepared, np.array([[0.6, 0.8], [0, 0], [-1, 0]], np.float32))
    np.testing.assert_array_equal(vectors, before)


def test_l2_copies_nothing_that_needs_no_change():
    vectors = np.ones((3, 2), np.float32)
    assert prepare(vectors, "l2") is vectors


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize(
    "vectors",
    [np.ones((3, 4), np.float16), np.ones((3, 4), np.float64), np.ones((4, 3), np.float32).T, np.ones((3, 8))[:, ::2]],
)
def test_any_array_becomes_contiguous_float32(vectors, metric):
    prepared = prepare(vectors, metric)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    assert prepared.shape == (3, 4)


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1, 1e20, 1e38])
def test_very_short_and_very_long_vectors_are_normalized(scale):
    vectors = (np.array([[1, 2, 2]]) * scale).astype(np.float32)
    np.testing.assert_allclose(prepare(vectors, "cosine"), [[1 / 3, 2 / 3, 2 / 3]], rtol=1e-6)


def test_row_does_not_depend_on_its_batch():
    vectors = np.random.default_rng(0).standard_normal((300, 2048)).astype(np.float32)
    whole = prepare(vectors, "cosine")
    for size in (1, 2, 7, 63, 64, 65, 299):
        pieces = [prepare(vectors[start : start + size], "cosine") for start in range(0, 300, size)]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_distances_of_what_faiss_returns(metric):
    generator = np.random.default_rng(1)
    vectors = prepare(generator.standard_normal((50, 6)), metric)
    queries = prepare(generator.standard_normal((4, 6)), metric)
    index = faiss.IndexFlat(6, faiss_metric(metric))
    index.add(vectors)
    scores, rows = index.search(queries, 50)
    expected = {
        "cosine": 1 - np.einsum("qd,qkd->qk", queries, vectors[rows]),
        "l2": np.linalg.norm(queries[:, None] - vectors[rows], axis=2),
    }[metric]
    distances = to_distances(scores, metric)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, expected, atol=1e-5)
    assert (np.diff(distances, axis=1) >= 0).all()


def test_no_distance_is_negative_and_unfilled_places_are_infinitely_far():
    top = np.finfo(np.float32).max
    cosine = to_distances(np.array([[1 + 1e-7, 1, 0.5, -1, -top]], np.float32), "cosine")
    assert cosine.tolist() == [[0, 0, 0.5, 2, np.inf]]
    l2 = to_distances(np.array([[-1e-7, 0, 9, top]], np.float32), "l2")
    assert l2.tolist() == [[0, 0, 3, np.inf]]
