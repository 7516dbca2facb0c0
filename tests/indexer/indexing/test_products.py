from __future__ import annotations

import faiss
import pytest

from lookalike_indexer.indexing import products


@pytest.fixture
def threshold(monkeypatch):
    """Set faiss's threshold, return its value, and restore it afterwards."""
    before = faiss.cvar.distance_compute_blas_threshold
    monkeypatch.setattr(products, "_chosen", 0)

    def set_or_get(value: int | None = None) -> int:
        if value is not None:
            faiss.cvar.distance_compute_blas_threshold = value
        return int(faiss.cvar.distance_compute_blas_threshold)

    yield set_or_get
    faiss.cvar.distance_compute_blas_threshold = before


def test_five_queries_of_the_largest_dimension_are_multiplied(threshold):
    threshold(128_000)
    products.multiply_from_few(512, 1)
    assert threshold() == 5 * 512
    products.multiply_from_few(2048, 1)
    assert threshold() == 5 * 2048
    products.multiply_from_few(512, 1)
    assert threshold() == 5 * 2048


def test_threads_search_one_query_each_like_faiss(threshold):
    threshold(128_000)
    products.multiply_from_few(2048, 64)
    assert threshold() == 128_000


@pytest.mark.parametrize("other", [20, 4_000])
def test_threshold_set_by_other_code_is_kept(threshold, other):
    threshold(other)
    products.multiply_from_few(2048, 1)
    assert threshold() == other
