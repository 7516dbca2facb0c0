from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike_indexer.numerics.grid import on_grid, squared_distances
from lookalike_indexer.vectors.metric import prepare


def unit(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return prepare(np.random.default_rng(seed).standard_normal((rows, dim)), "cosine")


def test_coordinate_moves_by_half_a_step_at_most():
    vectors = unit(50, 300)
    assert np.abs(on_grid(vectors) - vectors).max() <= 2.0**-27


def test_products_are_exact():
    points = on_grid(unit(3, 200))
    truth = sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(points[0].tolist(), points[1].tolist(), strict=True))
    assert squared_distances(points)[0, 1] == float(truth)


@given(st.integers(1, 40), st.integers(1, 300), st.integers(0, 1000))
def test_neither_order_nor_batch_changes_a_distance(rows: int, dim: int, seed: int):
    points = on_grid(unit(rows, dim, seed))
    whole = squared_distances(points)
    turned = squared_distances(points[:, ::-1].copy())
    assert whole.tobytes() == turned.tobytes()
    assert whole[:1].tobytes() == squared_distances(points[:1], points).tobytes()
    np.testing.assert_array_equal(np.diag(whole), 0)
    np.testing.assert_array_equal(whole, whole.T)


def test_distances_equal_those_of_the_vectors():
    vectors = unit(30, 100)
    truth = np.square(vectors[:, None].astype(np.float64) - vectors[None]).sum(axis=2)
    np.testing.assert_allclose(squared_distances(on_grid(vectors)), truth, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_points(rows: int):
    assert squared_distances(on_grid(unit(rows, 4))).shape == (rows, rows)
