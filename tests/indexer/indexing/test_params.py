from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from lookalike_indexer.collection.manifest import IndexEntry, RecallPoint
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.indexing.build import empty_index
from lookalike_indexer.indexing.params import describe, refines, search_parameters
from lookalike_indexer.indexing.recall_ladder import default_nprobe, ladder_at, nprobe_for_k, nprobe_for_recall

DIM = 32
IVF = [
    "IVF16,Flat",
    "IVF16,SQfp16",
    "IVF16,SQ8",
    "IVF16,PQ8x4np",
    "IVF16,PQ8x4fs",
    "IVF16,RaBitQ",
    "IVF16_HNSW8,Flat",
    "PCA16,IVF16,Flat",
    "L2norm,IVF16,SQ8",
    "IVF16,SQ8,RFlat",
    "PCA16,IVF16,SQ8,RFlat",
]
OTHERS = {
    "Flat": ("flat", True),
    "SQfp16": ("other", False),
    "PQ8x4np": ("other", False),
    "PCA16,Flat": ("flat", False),
    "HNSW8": ("graph", False),
}


def built(factory, rows=1000):
    vectors = np.random.default_rng(0).standard_normal((rows, DIM)).astype(np.float32)
    index = empty_index(factory, DIM, "cosine", 1234)
    index.train(vectors)
    index.add(vectors)
    return index, vectors


@pytest.mark.parametrize("factory", IVF)
def test_parameters_decide_how_many_lists_a_call_visits(factory):
    index, vectors = built(factory)
    ivf = faiss.extract_index_ivf(index)
    queries = vectors[:50]
    results = {}
    for nprobe in (1, 4, 16):
        results[nprobe] = index.search(queries, 10, params=search_parameters(index, nprobe))[1]
    assert ivf.nprobe == 1, "the shared index was changed"
    for nprobe, found in results.items():
        ivf.nprobe = nprobe
        np.testing.assert_array_equal(found, index.search(queries, 10)[1])
    assert not np.array_equal(results[1], results[16])
    assert describe(index) == describe(index).__class__("ivf", 16, False)


@pytest.mark.parametrize("factory", OTHERS)
def test_indexes_without_lists_need_no_parameters(factory):
    index, _ = built(factory)
    kind, lossless = OTHERS[factory]
    assert kind == "graph" or search_parameters(index, 8) is None
    assert (describe(index).kind, describe(index).nlist, describe(index).lossless) == (kind, 0, lossless)


def test_parameters_decide_how_many_candidates_a_graph_keeps():
    index, vectors = built("HNSW8", 3000)
    exact = faiss.IndexFlat(DIM, faiss.METRIC_INNER_PRODUCT)
    exact.add(vectors)
    truth = exact.search(vectors[:100], 10)[1]
    recall = []
    for candidates in (10, 40, 400):
        found = index.search(vectors[:100], 10, params=search_parameters(index, candidates))[1]
        recall.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]))
    assert recall[0] < recall[1] < recall[2]


@pytest.mark.parametrize("several", [faiss.IndexShards, faiss.IndexReplicas])
def test_index_over_several_devices_is_described_by_its_parts(several):
    parts = [built("IVF16,Flat")[0], built("IVF16,Flat")[0]]
    whole = several(DIM)
    for part in parts:
        whole.add_shard(part) if several is faiss.IndexShards else whole.add_replica(part)
    assert describe(whole).nlist == 16
    assert search_parameters(whole, 5).nprobe == 5


def test_shards_search_with_the_parameters_of_the_call():
    parts = [built("IVF16,Flat")[0], built("IVF16,Flat")[0]]
    whole = faiss.IndexShards(DIM, False, True)
    for part in parts:
        whole.add_shard(part)
    queries = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    few = whole.search(queries, 10, params=search_parameters(whole, 1))[0]
    many = whole.search(queries, 10, params=search_parameters(whole, 16))[0]
    assert many.sum() > few.sum()


def test_calls_with_different_parameters_may_share_an_index():
    index, vectors = built("IVF16,Flat", rows=4000)
    expected = {nprobe: index.search(vectors, 10, params=search_parameters(index, nprobe))[1] for nprobe in (1, 3, 16)}

    def ask(nprobe):
        return nprobe, index.search(vectors, 10, params=search_parameters(index, nprobe))[1]

    with ThreadPoolExecutor(6) as pool:
        for nprobe, found in pool.map(ask, [1, 3, 16] * 6):
            np.testing.assert_array_equal(found, expected[nprobe])


def entry(ladder):
    return IndexEntry("tiny", "IVF8,PQ4", "cosine", 8, 2, ladder, 100, 500, 1234, 900, "indexes/tiny/a.faiss", "a")


LADDER = [RecallPoint(1, 0.5), RecallPoint(2, 0.8), RecallPoint(4, 0.79), RecallPoint(8, 0.93)]


@pytest.mark.parametrize(("recall", "nprobe"), [(0.1, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.81, 8), (0.93, 8)])
def test_recall_uses_the_cheapest_sufficient_step(recall, nprobe):
    assert nprobe_for_recall(entry(LADDER), recall).nprobe == nprobe


def test_recall_out_of_reach_names_the_best_there_is():
    with pytest.raises(NotBuiltError, match=r"tiny \(IVF8,PQ4\) reaches a recall@10 of 0.9300 with nprobe 8 at best"):
        nprobe_for_recall(entry(LADDER), 0.95)
    with pytest.raises(NotBuiltError, match=r"reaches a recall@10 of 0.7000 at best, not 0.95"):
        nprobe_for_recall(entry([RecallPoint(0, 0.7)]), 0.95)


@pytest.mark.parametrize("recall", [0, -0.5, 1.01, float("nan")])
def test_recall_out_of_range_is_rejected(recall):
    with pytest.raises(UsageError, match="must be above 0 and at most 1"):
        nprobe_for_recall(entry(LADDER), recall)


def test_unmeasured_recall_is_rejected():
    with pytest.raises(NotBuiltError, match="was not measured"):
        nprobe_for_recall(entry([]), 0.5)


SEVERAL = [
    RecallPoint(1, 0.5, 1), RecallPoint(2, 0.7, 1), RecallPoint(4, 0.7, 1), RecallPoint(8, 0.7, 1),
    RecallPoint(1, 0.6, 10), RecallPoint(2, 0.9, 10), RecallPoint(4, 1.0, 10),
    RecallPoint(1, 0.2, 100), RecallPoint(2, 0.6, 100), RecallPoint(4, 0.8, 100), RecallPoint(8, 0.95, 100),
]  # fmt: skip


@pytest.mark.parametrize(
    ("k", "recalls"),
    [
        (1, {1: 0.5, 2: 0.7, 4: 0.7, 8: 0.7}),
        (5, {1: 0.5, 2: 0.7, 4: 0.7, 8: 0.7}),
        (10, {1: 0.6, 2: 0.9, 4: 1.0}),
        (20, {1: 0.2, 2: 0.6, 4: 0.8, 8: 0.95}),
        (100, {1: 0.2, 2: 0.6, 4: 0.8, 8: 0.95}),
        (101, {}),
    ],
)
def test_between_two_k_measured_the_lower_recall_counts(k, recalls):
    ladder = ladder_at(SEVERAL, k)
    assert {point.nprobe: point.recall for point in ladder} == recalls
    assert all(point.k == k for point in ladder)


def test_recall_is_looked_up_for_the_requested_k():
    assert nprobe_for_recall(entry(SEVERAL), 0.9, 10).nprobe == 2
    assert nprobe_for_recall(entry(SEVERAL), 0.9, 50).nprobe == 8
    with pytest.raises(NotBuiltError, match=r"reaches a recall@1 of 0.7000 with nprobe 2 at best, not 0.9"):
        nprobe_for_recall(entry(SEVERAL), 0.9, 1)
    with pytest.raises(NotBuiltError, match=r"recall@200 of the index of tiny was not measured, only up to recall@100"):
        nprobe_for_recall(entry(SEVERAL), 0.1, 200)


def test_effort_grows_with_k():
    measured = dataclasses.replace(entry(SEVERAL), target_recall=0.9)
    assert [nprobe_for_k(measured, k) for k in (1, 10, 11, 100)] == [2, 2, 8, 8]
    # The share of k that the default finds of 10, if the target was not measured.
    assert nprobe_for_k(dataclasses.replace(measured, target_recall=0), 100) == 8
    # Not measured: four times k images in the lists of 900 / 8.
    assert [nprobe_for_k(entry(LADDER), k) for k in (10, 20, 100, 1000)] == [2, 2, 4, 8]
    graph = dataclasses.replace(entry([RecallPoint(32, 0.99)]), nlist=0, default_nprobe=32)
    assert [nprobe_for_k(graph, k) for k in (10, 100)] == [32, 200]
    flat = dataclasses.replace(entry([RecallPoint(0, 1.0)]), nlist=0, default_nprobe=0)
    assert nprobe_for_k(flat, 1000) == 0


def test_exact_index_reaches_any_recall():
    assert nprobe_for_recall(entry([RecallPoint(0, 1.0)]), 1).nprobe == 0


@pytest.mark.parametrize(("target", "nprobe"), [(0.4, 1), (0.75, 2), (0.93, 8), (0.99, 8)])
def test_default_is_the_cheapest_that_reaches_the_target_or_the_best(target, nprobe):
    assert default_nprobe(LADDER, target, 8) == nprobe


def test_default_visits_all_lists_when_nothing_was_measured():
    assert default_nprobe([], 0.95, 8) == 8


def test_refining_index_compares_the_requested_share():
    assert not refines(built("IVF16,SQ8")[0])
    for factory in ("IVF16,SQ8,RFlat", "PCA16,IVF16,SQ8,RFlat"):
        index, _ = built(factory)
        assert refines(index)
    index, _ = built("IVF16,SQ8,RFlat")
    # The factor that the builder sets, times the share.
    assert [search_parameters(index, 2, share).k_factor for share in (1.0, 0.5, 0.01)] == [8, 4, 1]
