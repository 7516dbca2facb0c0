"""Searches that may return only some of the rows."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.limits import Limits
from lookalike_server.search.effort import Effort

from .conftest import random_vectors
from .test_partial import embedded_since


def mask_of(count: int, share: float, seed: int = 0) -> RowMask:
    return RowMask(np.random.default_rng(seed).random(count) < share)


class TestRowMask:
    def test_equal_masks_have_equal_digests(self) -> None:
        one, other = mask_of(1001, 0.5), RowMask(mask_of(1001, 0.5).bools.copy())
        assert one.digest == other.digest
        assert one.digest != mask_of(1001, 0.5, seed=1).digest
        assert RowMask(np.zeros(8, bool)).digest != RowMask(np.zeros(9, bool)).digest

    def test_allows_only_its_rows_and_never_row_minus_one(self) -> None:
        mask = RowMask(np.array([True, False, True]))
        assert mask.count == 2
        assert mask.allows(np.array([[0, 1], [2, -1]])).tolist() == [[True, False], [True, False]]
        assert RowMask(np.empty(0, bool)).allows(np.array([-1])).tolist() == [False]


@pytest.mark.parametrize("index", ["Flat", "IVF16,SQ8"])
async def test_each_call_of_a_batch_has_its_own_mask(make_toy, serve, index) -> None:
    toy = make_toy(index=index)
    queries = random_vectors(4, seed=3)
    async with serve(toy) as served:
        space = served.app.current.snapshot.space()
        plan = space.planner.plan(Effort(exact=True), Limits())
        # The last image has no embedding: masks cover all images.
        masks = [None, *(np.random.default_rng(seed).random(501) < share for seed, share in enumerate((0.5, 0.01, 0)))]
        hits = await asyncio.gather(
            *(
                asyncio.to_thread(space.engine.search, queries, 7, plan, None if mask is None else space.mask(mask))
                for mask in masks
            )
        )
        for mask, found in zip(masks, hits, strict=True):
            there = np.ones(500, bool) if mask is None else mask[:500]
            numbers = np.flatnonzero(there)
            order = np.argsort(toy_distances(toy.vectors[numbers], queries), axis=1)[:, :7]
            expected = np.full((4, 7), -1)
            expected[:, : order.shape[1]] = numbers[order]
            np.testing.assert_array_equal(found.rows, expected)


def toy_distances(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    left, right = queries.astype(np.float64), vectors.astype(np.float64)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return 1 - left @ right.T


@pytest.mark.parametrize("share", [0.02, 0.5])
async def test_exact_searches_read_few_matches_one_by_one(make_toy, serve, share) -> None:
    """With an index whose rows are in another order than the space's."""
    toy = embedded_since(make_toy(index=None), BuildSettings(index="ivf-sq8", nlist=4))
    queries = random_vectors(4, seed=3)
    async with serve(toy) as served:
        space = served.app.current.snapshot.space()
        plan = space.planner.plan(Effort(exact=True), Limits())
        assert plan.scan
        images = np.random.default_rng(4).random(501) < share
        hits = await asyncio.to_thread(space.engine.search, queries, 7, plan, space.mask(images))
        numbers = np.flatnonzero(images[:500])
        order = np.argsort(toy_distances(toy.vectors[numbers], queries), axis=1)[:, :7]
        np.testing.assert_array_equal(space.images.ids[hits.rows], toy.ids[numbers[order]])
        assert hits.scanned
        assert hits.filtered is not None
        assert hits.filtered.strategy == "exact"
