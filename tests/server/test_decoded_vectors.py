from __future__ import annotations

import numpy as np
import pytest

from lookalike_server.placement.decoded_vectors import DecodedVectors


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_unfilled_place_has_infinite_distance_and_changes_no_other(metric):
    generator = np.random.default_rng(1)
    stored, queries = (generator.standard_normal((rows, 2048)).astype(np.float32) for rows in (300, 20))
    vectors = DecodedVectors(lambda rows: stored[rows], metric)
    rows = generator.integers(0, 300, (20, 170))
    whole = vectors.distances(queries, rows)
    missing = rows.copy()
    missing[3], missing[5, 4:], missing[19, ::2] = -1, -1, -1
    found = vectors.distances(queries, missing)
    assert found[missing >= 0].tobytes() == whole[missing >= 0].tobytes()
    assert np.isinf(found[missing < 0]).all()
    assert vectors.distances(queries[7:8], rows[7:8]).tobytes() == whole[7].tobytes()
