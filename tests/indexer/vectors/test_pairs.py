from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.vectors import pairs


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("shape", [(1, 18, 2048), (9, 200, 2048), (5, 3, 7), (0, 4, 8), (4, 0, 8)])
def test_batched_distances_equal_pairwise_distances_bit_for_bit(metric, shape):
    queries, count, dim = shape
    generator = np.random.default_rng(0)
    left = generator.standard_normal((queries, dim)).astype(np.float32)
    right = generator.standard_normal((queries, count, dim)).astype(np.float32)
    lines = np.repeat(np.arange(queries), count)
    one_by_one = pairs.distances(left, lines, right.reshape(-1, dim), np.arange(queries * count), metric)
    together = pairs.distances_of_each(left, right, metric)
    assert together.tobytes() == one_by_one.tobytes()
