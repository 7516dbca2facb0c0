"""Filtered searches of placed indexes have the recall of unfiltered ones, for every filter and index."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import faiss
import numpy as np
import pytest

from lookalike_benchmarks.filtering import Filterable, ladder
from lookalike_benchmarks.vectors import Clustered
from lookalike_indexer.collection.manifest import RecallPoint
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.build import empty_index
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.vectors.metric import prepare
from lookalike_server.columns.row_mask import RowMask
from lookalike_server.common.limits import Limits
from lookalike_server.placement import exact
from lookalike_server.placement.build_searchers import build_searchers
from lookalike_server.placement.devices import Cpu
from lookalike_server.placement.kinds import Measured
from lookalike_server.placement.masks import QueryMasks
from lookalike_server.placement.searcher import OnDevice
from lookalike_server.search.effort import Effort

from .conftest import random_vectors
from .test_partial import embedded_since

ROWS, DIM, K, QUERIES = 8_000, 64, 10, 60
TARGET = 0.9
SHARES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
KINDS = {
    "flat": "Flat",
    "flat-fp16": "SQfp16",
    "ivf-flat": "IVF128,Flat",
    "ivf-fp16": "IVF128,SQfp16",
    "ivf-sq8": "IVF128,SQ8",
    "ivf-rabitq": "IVF128,RaBitQ,Refine(SQ8)",
    "ivf-pqfs": "IVF128,PQ16x4fs,Refine(SQ8)",
    "hnsw": "HNSW32,SQ8",
    "pca-hnsw": "PCA48,HNSW32,SQ8,Refine(SQ8)",
    "pca-ivf-sq8": "PCA48,IVF128,SQ8,Refine(SQ8)",
    "pca-flat": "PCA48,SQ8,Refine(SQ8)",
}


@cache
def data() -> Filterable:
    return Filterable.of(Clustered(rows=ROWS, dim=DIM, seed=5), QUERIES)


@cache
def placed(kind: str) -> tuple[OnDevice, int]:
    """Return an index of a kind as a server places it, and the effort that reaches the target."""
    index = empty_index(KINDS[kind], DIM, "cosine", 1)
    if two_stage.is_two_stage(index):
        two_stage.train(index, data().vectors)
        two_stage.add(index, data().vectors)
    else:
        index.train(data().vectors)
        index.add(data().vectors)
    points = list(ladder(index, data().vectors))
    reached = [point.nprobe for point in points if point.k == K and point.recall >= TARGET]
    best = max((point for point in points if point.k == K), key=lambda point: point.recall, default=RecallPoint(0, 1))
    return OnDevice("cpu", index, "cosine", measured=Measured(points)), (reached or [best.nprobe])[0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ivf-pq"])
def test_filtered_search_has_the_recall_of_an_unfiltered_search(kind) -> None:
    index, effort = placed(kind)
    usual = data().recall(index.search(data().queries, K, effort).rows)
    short = {}
    for filter_kind in ("random", "near", "far"):
        for share in SHARES:
            masks = data().masks(filter_kind, share)
            found = index.search(data().queries, K, effort, masks=QueryMasks.of([RowMask(mask) for mask in masks]))
            there = found.rows >= 0
            assert (there.sum(axis=1) == min(K, round(share * ROWS))).all(), f"{filter_kind} {share}"
            assert all(mask[rows[some]].all() for mask, rows, some in zip(masks, found.rows, there, strict=True))
            recall = data().recall(found.rows, masks)
            if recall < usual - 0.02:
                short[filter_kind, share] = recall
    assert not short, f"{kind}, effort {effort}, unfiltered {usual:.3f}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 7, ROWS])
def test_filtered_search_returns_k_or_all_matches(kind, count) -> None:
    index, effort = placed(kind)
    mask = np.zeros(ROWS, bool)
    mask[np.random.default_rng(count).permutation(ROWS)[:count]] = True
    found = index.search(data().queries[:9], K, effort, masks=masks_for(9, mask))
    there = found.rows >= 0
    assert (there.sum(axis=1) == min(K, count)).all()
    assert mask[found.rows[there]].all()
    assert np.isinf(found.distances[~there]).all()
    assert all(len(set(line[some].tolist())) == some.sum() for line, some in zip(found.rows, there, strict=True))
    assert (np.diff(found.distances[:, : min(K, count)], axis=1) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_answer_is_the_same_alone_and_among_other_masks(kind) -> None:
    index, effort = placed(kind)
    queries = data().queries[:24]
    shares = [0.002, 0.05, 0.3, 0.8]
    masks = [data().masks("random", share)[0] for share in shares]
    each = [RowMask(masks[line % 4]) for line in range(24)]
    together = index.search(queries, K, effort, masks=QueryMasks.of(each))
    for line in range(24):
        # Equal, but another object.
        alone = index.search(queries[line : line + 1], K, effort, masks=masks_for(1, masks[line % 4].copy()))
        np.testing.assert_array_equal(alone.rows[0], together.rows[line])
        np.testing.assert_array_equal(alone.distances[0], together.distances[line])
        assert alone.facts is not None
        assert together.facts is not None
        assert alone.facts.visited[0] == together.facts.visited[line]


@pytest.mark.parametrize("filter_kind", ["random", "near", "far"])
def test_batched_comparison_equals_single_comparisons(filter_kind, monkeypatch) -> None:
    """The nearest rows contain enough matches of near and random filters, and none of far filters."""
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)
    index, _ = placed("flat")
    for share in (0.05, 0.3, 0.9):
        masks = data().masks(filter_kind, share)
        together = index.search(data().queries, K, 0, masks=QueryMasks.of([RowMask(mask) for mask in masks]))
        for line, mask in enumerate(masks):
            alone = index.search(data().queries[line : line + 1], K, 0, masks=masks_for(1, mask))
            np.testing.assert_array_equal(alone.rows[0], together.rows[line])
            np.testing.assert_array_equal(alone.distances[0], together.distances[line])


def masks_by_share(rows: int, *shares: float) -> QueryMasks:
    """Return a mask for each query, by the share of rows that it allows."""
    random = np.random.default_rng(2)
    return QueryMasks.of([RowMask(random.random(rows) < share) for share in shares])


def masks_for(queries: int, mask: np.ndarray) -> QueryMasks:
    return QueryMasks.of([RowMask(mask)] * queries)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("kind", ["Flat", "SQfp16", "SQ8", "IVF16,Flat", "IVF16,SQ8", "IVF16_HNSW8,Flat",
                                  "PCA8,Flat", "PCA8,IVF16,Flat", "PQ4x4", "HNSW8"])  # fmt: skip
def test_copies_go_by_their_rows(kind, metric, index_of) -> None:
    """Every vector is there twenty times, so that ties are cut at every k."""
    random = np.random.default_rng(1)
    vectors = np.repeat(random.standard_normal((40, 16)).astype(np.float32), 20, axis=0)
    index = OnDevice("cpu", index_of(vectors, kind, metric), metric)
    masks = [random.random(800) < share for share in (0.1, 0.5, 0.95)]
    queries = prepare(vectors[[7, 219, 533]] + np.float32(0.01), metric)
    found = index.search(queries, 12, 16 if "IVF" in kind else 64, masks=QueryMasks.of(list(map(RowMask, masks))))
    for line, (mask, row) in enumerate(zip(masks, (7, 219, 533), strict=True)):
        copies = [one for one in range(row // 20 * 20, row // 20 * 20 + 20) if mask[one]]
        if "PQ" in kind or "HNSW" in kind or (len(copies) > 12 and "PCA" not in kind):
            # Codes can tie with other codes, and a graph finds any of equal ones.
            assert mask[found.rows[line]].all()
            continue
        assert found.rows[line, : len(copies)].tolist() == copies[:12]


class TestShards:
    @pytest.mark.parametrize("kind", ["Flat", "SQ8", "IVF16,Flat", "IVF16,SQ8"])
    def test_answer_as_the_whole_index_does(self, tmp_path, kind, index_of) -> None:
        vectors = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
        index = index_of(vectors, kind, "cosine")
        path = tmp_path / "index"
        faiss.write_index(index, str(path))
        steps = ((2, 0.7), (4, 0.9), (16, 1.0)) if "IVF" in kind else ()
        recall = [RecallPoint(nprobe, recall, k) for k in (1, 10) for nprobe, recall in steps]
        [whole] = build_searchers(index, path, "cosine", "cpu", [Cpu()], recall=recall)
        [sharded] = build_searchers(
            index, path, "cosine", "shard", [Cpu("a"), Cpu("b"), Cpu("c")], recall=recall if "IVF" in kind else ()
        )
        masks = masks_by_share(600, 0, 0.01, 0.2, 0.9)
        queries, nprobe = prepare(vectors[:4] + np.float32(0.1), "cosine"), 4 if "IVF" in kind else 0
        expected = whole.search(queries, 10, nprobe, masks=masks)
        found = sharded.search(queries, 10, nprobe, masks=masks)
        sharded.close()
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_allclose(found.distances, expected.distances, atol=1e-6)
        assert found.facts is not None
        assert expected.facts is not None
        assert found.facts.visited.tolist() == expected.facts.visited.tolist()
        assert found.facts.strategy == expected.facts.strategy


class TestFacts:
    def told(self, kind: str, filter_kind: str, share: float):
        index, effort = placed(kind)
        masks = QueryMasks.of([RowMask(mask) for mask in data().masks(filter_kind, share)])
        first = index.search(data().queries, K, effort, masks=masks).facts
        again = index.search(data().queries, K, effort, masks=masks).facts
        assert first is not None
        assert again is not None
        assert not first.cached.any()
        return again, effort

    def test_lists(self) -> None:
        far, _ = self.told("ivf-fp16", "far", 0.5)
        near, effort = self.told("ivf-fp16", "near", 0.5)
        random, _ = self.told("ivf-fp16", "random", 0.5)
        for facts in (far, near, random):
            assert set(facts.strategy) == {"lists"}
            assert facts.cached.all()
        assert near.visited.mean() < random.visited.mean() < far.visited.mean() < 128
        assert near.visited.mean() < 2 * effort
        assert near.local.mean() > 0.9 > 0.6 > random.local.mean() > 0.45 > far.local.mean()
        assert far.skipped.mean() > random.skipped.mean() == 0

    def test_few_matches(self) -> None:
        facts, _ = self.told("ivf-sq8", "far", 0.001)
        assert set(facts.strategy) == {"matching-lists"}
        assert (facts.visited + facts.skipped == 128).all()
        assert facts.visited.max() <= 8

    def test_graphs_and_flat_indexes(self) -> None:
        assert set(self.told("hnsw", "random", 0.01)[0].strategy) == {"matches"}
        assert set(self.told("hnsw", "far", 0.9)[0].strategy) == {"matches"}
        assert set(self.told("hnsw", "random", 0.9)[0].strategy) == {"graph"}
        # The graph must be followed past 8 rows that do not match.
        assert set(self.told("hnsw", "far", 0.999)[0].strategy) == {"graph"}
        index, _ = placed("flat")
        facts = index.search(data().queries[:2], K, 0, masks=masks_for(2, np.zeros(ROWS, bool))).facts
        assert facts is not None
        assert facts.strategy == ["none", "none"]


class Ignoring:
    """An index of another library, such as one on a GPU, that silently ignores the mask."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self.d, self.ntotal, self.metric_type = index.d, index.ntotal, index.metric_type

    def search(self, queries, k, params=None):
        return self._index.search(queries, k)


class Leaking(Ignoring):
    """An index that claims to use the mask, but does not."""

    def search_allowed(self, queries, k, mask):
        return self._index.search(queries, min(k, mask.count))


@pytest.mark.parametrize("hosted", [Ignoring, Leaking])
@pytest.mark.parametrize("share", [0.002, 0.3, 0.97])
async def test_rows_outside_the_filter_are_removed_on_every_device(make_toy, serve, hosted, share, caplog) -> None:
    class Device(Cpu):
        max_selection = 64

        def host(self, index: faiss.Index) -> Any:
            return hosted(index)

    toy = make_toy(random_vectors(4000))
    queries = random_vectors(6, seed=3)
    async with serve(toy, placement="gpu", devices=[Device("cuda:7")]) as served:
        space = served.app.current.snapshot.space()
        plan = space.planner.plan(Effort(), Limits())
        images = np.random.default_rng(1).random(4001) < share
        images[4000] = False
        hits = await asyncio.to_thread(space.engine.search, queries, 9, plan, space.mask(images))
        allowed = np.flatnonzero(images)
        order = np.argsort(-(prepare(queries, "cosine") @ prepare(toy.vectors[allowed], "cosine").T), axis=1)[:, :9]
        np.testing.assert_array_equal(hits.rows[:, : order.shape[1]], allowed[order])
        assert (hits.rows[:, order.shape[1] :] == -1).all()
        assert hits.complete
        assert hits.filtered is not None
        assert (hits.filtered.matches, hits.filtered.rows) == (len(allowed), 4000)
        leaks = hosted is Leaking
        assert ("rows that the filter excludes" in caplog.text) == leaks
        if not leaks:
            assert hits.filtered.strategy == ("over-fetch" if share > 0.9 else "exact")


async def test_images_beside_the_index_are_filtered_too(make_toy, serve) -> None:
    toy = embedded_since(make_toy(index=None), BuildSettings(index="flat"))
    queries = random_vectors(5, seed=3)
    async with serve(toy) as served:
        space = served.app.current.snapshot.space()
        plan = space.planner.plan(Effort(), Limits())
        images = np.random.default_rng(1).random(501) < 0.05
        hits = await asyncio.to_thread(space.engine.search, queries, 9, plan, space.mask(images))
        allowed = np.flatnonzero(images[:500])
        order = np.argsort(-(prepare(queries, "cosine") @ prepare(toy.vectors[allowed], "cosine").T), axis=1)[:, :9]
        np.testing.assert_array_equal(space.images.ids[hits.rows], toy.ids[allowed[order]])
        assert hits.filtered is not None
        assert not hits.scanned


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("factory", ["Flat", "SQfp16"])
@pytest.mark.parametrize("at_once", [1 << 28, 20_000])
def test_exact_search_by_torch_finds_what_a_mask_allows(
    factory, metric, device, at_once, index_of, monkeypatch
) -> None:
    monkeypatch.setattr(exact, "_SCORES", at_once)
    monkeypatch.setattr(exact, "_COMPARED", at_once)
    vectors = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    index = index_of(vectors, factory, metric)
    placed_there = OnDevice("cuda:0", exact.ExactIndex(index, device), metric, max_selection=2048)
    reference = OnDevice("cpu", index, metric)
    masks = masks_by_share(3000, 0, 0.001, 0.1, 0.6, 1)
    queries = prepare(vectors[:5] + np.float32(0.3), metric)
    found, expected = placed_there.search(queries, 20, 0, masks=masks), reference.search(queries, 20, 0, masks=masks)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_allclose(found.distances, expected.distances, atol=1e-5)
    assert found.facts is not None
    assert found.facts.strategy == ["none", *["matches"] * 4]
