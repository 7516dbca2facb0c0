"""Exact search with torch: on the processor here, and on a GPU with the same code."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch

from lookalike_indexer.vectors.metric import faiss_metric, prepare
from lookalike_server.placement import exact
from lookalike_server.placement.devices import holds_vectors
from lookalike_server.placement.exact import ExactIndex, largest

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def vectors(rows: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def flat(factory: str, metric: str, rows: int = 3000) -> tuple[faiss.Index, np.ndarray]:
    """Return an index and its vectors as it stores them, in float64."""
    index = faiss.index_factory(32, factory, faiss_metric(metric))
    index.add(prepare(vectors(rows), metric))
    return index, np.stack([index.reconstruct(row) for row in range(rows)]).astype(np.float64)


def brute_force(stored: np.ndarray, queries: np.ndarray, metric: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and rows as faiss does, in float64."""
    if metric == "cosine":
        scores = queries.astype(np.float64) @ stored.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    else:
        scores = np.square(queries[:, None].astype(np.float64) - stored[None]).sum(axis=2)
        rows = np.argsort(scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("factory", ["Flat", "SQfp16"])
@pytest.mark.parametrize("scores_at_once", [1 << 28, 20_000])
def test_exact_search_equals_brute_force_over_stored_vectors(
    monkeypatch, factory, metric, device, scores_at_once
) -> None:
    monkeypatch.setattr(exact, "_SCORES", scores_at_once)
    index, stored = flat(factory, metric)
    queries = prepare(vectors(33, seed=1), metric)
    scores, rows = ExactIndex(index, device).search(queries, 20)
    expected, expected_rows = brute_force(stored, queries, metric, 20)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    # The last ones may differ in float16, since the product rounds queries. A searcher requests more than it needs.
    np.testing.assert_array_equal(rows[:, :12], expected_rows[:, :12])


@pytest.mark.parametrize("device", DEVICES)
def test_near_duplicates_have_their_own_distances(device) -> None:
    """As a difference of large numbers, the distance of 0.005 at a norm of 36 would be lost."""
    base = np.full((1, 32), 36 / np.sqrt(32), np.float32)
    moved = np.repeat(base, 200, axis=0)
    moved[:, 0] += np.arange(200, dtype=np.float32) * 0.005
    index = faiss.IndexFlatL2(32)
    index.add(moved)
    scores, rows = ExactIndex(index, device).search(base, 5)
    np.testing.assert_array_equal(rows[0], range(5))
    np.testing.assert_allclose(np.sqrt(scores[0]), np.arange(5) * 0.005, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("columns", [10, 640, 64 * 100, 64 * 100 + 17])
def test_grouped_selection_equals_one_pass(columns, device) -> None:
    scores = torch.from_numpy(vectors(7, columns, seed=3)).to(device)
    values, places = largest(scores, 10)
    expected, expected_places = scores.topk(10, dim=1)
    assert torch.equal(values, expected)
    assert torch.equal(places, expected_places)


def test_indexes_of_codes_are_searched_by_faiss() -> None:
    for factory in ("Flat", "SQfp16"):
        assert holds_vectors(faiss.index_factory(32, factory))
    for factory in ("SQ8", "IVF4,Flat", "PCA16,Flat", "HNSW8", "PQ4"):
        assert not holds_vectors(faiss.index_factory(32, factory))
