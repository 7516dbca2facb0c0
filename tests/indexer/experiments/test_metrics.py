from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from lookalike_indexer.experiments.metrics import agreement, contingency


def codes(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.mark.parametrize(("labels", "clusters"), [(2, 3), (10, 10), (40, 5), (1, 4), (4, 1), (1, 1)])
def test_figures_equal_those_of_scikit_learn(labels: int, clusters: int):
    generator = np.random.default_rng(labels * 100 + clusters)
    first = generator.integers(0, labels, 500).astype(np.int32)
    second = np.where(generator.random(500) < 0.5, first % clusters, generator.integers(0, clusters, 500))
    second = second.astype(np.int32)
    found = agreement(contingency(first, second))
    table = reference.cluster.contingency_matrix(first, second)
    assert found.purity == pytest.approx(table.max(axis=0).sum() / 500)
    assert found.nmi == pytest.approx(reference.normalized_mutual_info_score(first, second), abs=1e-12)
    assert found.ari == pytest.approx(reference.adjusted_rand_score(first, second), abs=1e-12)
    assert found.v_measure == pytest.approx(reference.v_measure_score(first, second), abs=1e-12)
    assert found.homogeneity == pytest.approx(reference.homogeneity_score(first, second), abs=1e-12)
    assert found.completeness == pytest.approx(reference.completeness_score(first, second), abs=1e-12)


def test_renamed_partition_agrees_wholly():
    found = agreement(contingency(codes(0, 0, 1, 1, 2), codes(2, 2, 0, 0, 1)))
    assert found.figures() == pytest.approx(dict.fromkeys(found.figures(), 1.0))


def test_images_without_a_code_are_left_out():
    table = contingency(codes(0, -1, 1, 1), codes(0, 0, -1, 1))
    assert (table.left_out, table.total) == (2, 2)
    assert agreement(table).purity == 1.0


def test_nothing_to_compare_is_not_a_number():
    table = contingency(codes(-1, -1), codes(0, 1))
    assert table.shape == (0, 0)
    assert np.isnan(list(agreement(table).figures().values())).all()


def test_wide_tables_count_as_small_ones_do():
    first = np.array([0, 5, 5, 99_999], np.int32)
    second = np.array([1, 7, 7, 0], np.int32)
    wide = contingency(first, second, 100_000, 1000)
    assert (wide.rows.tolist(), wide.columns.tolist(), wide.counts.tolist()) == ([0, 5, 99_999], [1, 7, 0], [1, 2, 1])
    narrow = contingency(first[:3], second[:3])
    assert narrow.sparse().toarray()[5, 7] == 2
    assert wide.row_sums[5] == wide.column_sums[7] == 2
