from __future__ import annotations

import hashlib
import json

import faiss
import numpy as np
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import RecallPoint
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError, IndexerError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.indexing import build_stage
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.indexing.params import search_parameters
from lookalike_indexer.indexing.recall_ladder import ladder_at, nprobe_for_k
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare


def build(storage, **settings):
    draft, report = run_build(storage, generations.require_latest(storage), BuildSettings(**settings), Silent())
    return CollectionReader(storage, draft), report


def written(storage):
    files = sorted((storage.root / "indexes").rglob("*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def expected_recall(vectors, index, nprobe, rows, k=10):
    """Return recall@k by numpy alone; each query excludes itself."""
    scores = vectors[rows].astype(np.float64) @ vectors.T.astype(np.float64)
    scores[np.arange(len(rows)), rows] = -np.inf
    truth = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = index.search(vectors[rows], k + 1, params=search_parameters(index, nprobe))[1]
    hits = 0
    for query, row in enumerate(rows):
        others = [label for label in found[query] if label != row][:k]
        hits += len(set(others) & set(truth[query]))
    return hits / (k * len(rows))


@pytest.mark.parametrize("index", ["ivf-sq8", "ivf-rabitq", "hnsw"])
def test_ladders_are_the_recall_at_each_k_of_held_back_images(make_collection, clustered, index):
    vectors = clustered(1200, 32, 60, spread=0.6)
    storage = make_collection(vectors, part_rows=[500, 0, 700])
    reader, report = build(storage, index=index, nlist=None if index == "hnsw" else 16)
    assert {point.k for point in report.entry.recall} == {1, 10, 100, 1024}
    loaded = read_index(reader, report.entry)
    _, query_rows = build_stage._split(1200, report.entry.trained_on, report.entry.seed)
    assert report.entry.recall_queries == len(query_rows) == 120
    for k, queries in ((1, 120), (10, 120), (100, 120), (1024, 50)):
        ladder = [point for point in report.entry.recall if point.k == k]
        steps = [16, 32, 64, 128, 256, 512, 1024, 2048] if index == "hnsw" else [1, 2, 4, 8, 16]
        assert [point.nprobe for point in ladder] == steps[: len(ladder)]
        for point in ladder:
            rows = query_rows[:queries]
            expected = expected_recall(prepare(vectors, "cosine"), loaded, point.nprobe, rows, k)
            # Ties with the k-th neighbor count, too.
            assert expected - 1e-9 <= point.recall < expected + 1e-3


def test_larger_k_is_harder_to_find(make_collection, clustered):
    _, report = build(make_collection(clustered(1200, 24, 60, spread=0.6)), index="ivf-flat", nlist=16)
    few, many = (ladder_at(report.entry.recall, k) for k in (10, 100))
    assert few[0].recall > many[0].recall
    assert nprobe_for_k(report.entry, 10) == report.entry.default_nprobe < nprobe_for_k(report.entry, 100)
    reached = next(point.nprobe for point in many if point.recall >= 0.95)
    assert nprobe_for_k(report.entry, 100) == reached


def test_index_with_recall_at_10_only_is_measured_again_and_reused(make_collection, clustered):
    storage = make_collection(clustered(400, 8, 5))
    _, report = build(storage, index="ivf-flat", nlist=4)
    before = written(storage)
    path = storage.local(report.entry.path).with_suffix(".json")
    told = json.loads(path.read_text())
    told["recall"] = [
        {"nprobe": each["nprobe"], "recall": each["recall"]} for each in told["recall"] if each["k"] == 10
    ]
    path.write_text(json.dumps(told))
    _, again = build(storage, index="ivf-flat", nlist=4)
    assert again.reused
    assert again.entry == report.entry
    assert written(storage) == before


def test_queries_are_not_among_the_training_vectors_where_there_are_enough():
    train, queries = build_stage._split(1000, 900, 7)
    assert len(train) == 900
    assert len(queries) == 100
    assert not set(train) & set(queries)
    train, queries = build_stage._split(1000, 1000, 7)
    assert len(train) == 1000
    assert len(queries) == 100


def test_default_nprobe_is_the_cheapest_that_reaches_the_target(make_collection, clustered):
    storage = make_collection(clustered(1500, 24, 20, spread=1.5))
    _, report = build(storage, index="ivf-flat", nlist=32, target_recall=0.9)
    reached = [point for point in ladder_at(report.entry.recall, 10) if point.recall >= 0.9]
    assert report.entry.default_nprobe == reached[0].nprobe > 1
    assert report.recall == reached[0].recall


def test_another_target_takes_the_same_file(make_collection, clustered):
    storage = make_collection(clustered(1500, 24, 20, spread=1.5))
    _, low = build(storage, index="ivf-flat", nlist=32, target_recall=0.5)
    _, high = build(storage, index="ivf-flat", nlist=32, target_recall=0.99)
    assert high.reused
    assert high.entry.path == low.entry.path
    assert high.entry.default_nprobe > low.entry.default_nprobe


def test_inverted_lists_all_visited_find_everything(make_collection, clustered):
    _, report = build(make_collection(clustered(900, 16, 30, spread=0.8)), index="ivf-flat", nlist=8)
    assert report.entry.recall[-1].recall == 1


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("index", ["flat", "IVF4,Flat"])
def test_searching_the_index_equals_an_exact_search(make_collection, clustered, metric, index):
    vectors = clustered(400, 16, 10, spread=0.8) * np.linspace(0.5, 2, 400, dtype=np.float32)[:, None]
    reader, report = build(make_collection(vectors), index=index, metric=metric)
    loaded = read_index(reader, report.entry)
    queries = prepare(vectors[::40] + 0.1, metric)
    found = loaded.search(queries, 5, params=search_parameters(loaded, 4))[1]
    rows, _ = exact_search([(np.arange(400), vectors)], queries, 5, metric)
    assert np.array_equal(found, rows)


def test_flat_index_is_exact_without_measuring(make_collection, clustered):
    _, report = build(make_collection(clustered(50, 8, 5)))
    entry = report.entry
    assert (entry.factory, entry.nlist, entry.default_nprobe, entry.trained_on) == ("Flat", 0, 0, 0)
    assert entry.recall == [RecallPoint(0, 1.0)]
    assert entry.recall_queries == 0
    assert "50 images" in report.reason


def test_lossy_index_without_lists_has_one_measured_step(make_collection, clustered):
    _, report = build(make_collection(clustered(500, 16, 200, spread=0.5)), index="PQ2x4np")
    assert {point.nprobe for point in report.entry.recall} == {report.entry.default_nprobe} == {0}
    assert [point.k for point in report.entry.recall] == [1, 10, 100, 1024]
    assert all(0 < point.recall < 0.9 for point in report.entry.recall[:2])
    assert report.entry.recall_queries == 50


def test_any_duplicates_count_as_found(make_collection):
    """Every image has 29 copies: any ten of them are the nearest, whichever the index returns."""
    generator = np.random.default_rng(0)
    vectors = np.repeat(generator.standard_normal((20, 8)), 30, axis=0).astype(np.float32)
    order = generator.permutation(600)
    _, report = build(make_collection(vectors[order]), index="ivf-sq8", nlist=4)
    assert report.entry.recall[-1].recall == 1


_SMALL = [RecallPoint(1, 1.0, 1), RecallPoint(1, 1.0, 10)]


@pytest.mark.parametrize(("rows", "recall"), [(1, []), (2, _SMALL), (7, _SMALL)])
def test_very_small_collections(make_collection, clustered, rows, recall):
    _, report = build(make_collection(clustered(rows, 8, 3)), index="ivf-flat", nlist=1)
    assert report.entry.recall == recall
    assert report.entry.default_nprobe == 1


@pytest.mark.parametrize("index", ["flat", "ivf-flat", "ivf-fp16", "ivf-sq8", "HNSW8"])
def test_running_again_changes_no_byte(make_collection, clustered, index):
    storage = make_collection(clustered(400, 8, 5))
    first, report = build(storage, index=index)
    assert not report.reused
    before = written(storage)
    generations.publish(storage, first.manifest)
    again, report = build(storage, index=index)
    assert report.reused
    assert written(storage) == before
    assert generations.publish(storage, again.manifest).generation == 2
    other = make_collection(clustered(400, 8, 5), name="other", part_rows=100)
    build(other, index=index)
    assert written(other) == before


@pytest.mark.parametrize("harm", ["record missing", "record broken", "index cut short", "index missing"])
def test_index_that_a_killed_run_left_unfinished_is_rebuilt(make_collection, clustered, harm):
    storage = make_collection(clustered(400, 8, 5))
    _, report = build(storage, index="ivf-flat")
    before = written(storage)
    index = storage.local(report.entry.path)
    record = index.with_suffix(".json")
    {
        "record missing": record.unlink,
        "record broken": lambda: record.write_text("{"),
        "index cut short": lambda: index.write_bytes(index.read_bytes()[:100]),
        "index missing": index.unlink,
    }[harm]()
    _, again = build(storage, index="ivf-flat")
    assert not again.reused
    assert again.entry == report.entry
    assert written(storage) == before


def test_other_settings_or_embeddings_have_another_digest(make_collection, clustered):
    vectors = clustered(300, 8, 5)
    storage = make_collection(vectors)
    variants = [{}, {"seed": 3}, {"metric": "l2"}, {"nlist": 3}, {"train_size": 60}]
    digests = {build(storage, index="ivf-flat", **more)[1].entry.digest for more in variants}
    digests.add(build(make_collection(vectors + 1, name="other"), index="ivf-flat")[1].entry.digest)
    assert len(digests) == 6


def test_changed_index_file_never_reaches_faiss(make_collection, clustered, monkeypatch):
    storage = make_collection(clustered(60, 8, 5))
    reader, report = build(storage)
    path = storage.local(report.entry.path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(faiss, "read_index", lambda *_: pytest.fail("faiss was given an unverified file"))
    with pytest.raises(DataLossError, match="is not what was written"):
        read_index(reader, report.entry)


def test_nothing_is_published_and_clusterings_stay(make_collection, clustered):
    storage = make_collection(clustered(60, 8, 5))
    reader, report = build(storage)
    assert generations.numbers(storage) == [1]
    published = generations.publish(storage, reader.manifest)
    assert published.indexes == {"tiny/main": report.entry}
    assert published.files[report.entry.path].bytes == report.bytes


def test_empty_space_is_rejected(make_collection):
    with pytest.raises(NotBuiltError, match="The space tiny has no embeddings to index"):
        build(make_collection(np.empty((0, 8), np.float32), part_rows=[0]))


def test_unknown_space_is_rejected(make_collection, clustered):
    with pytest.raises(NotFoundError, match="no space 'huge'; it has: tiny"):
        build(make_collection(clustered(20, 8, 4)), space="huge")


@pytest.mark.parametrize("index", ["flat", "ivf-flat"])
def test_non_finite_embeddings_are_counted_and_named(make_collection, clustered, index):
    vectors = clustered(300, 8, 4)
    vectors[7, 0] = np.nan
    with pytest.raises(IndexerError, match=r"1 of 300 embeddings of the space tiny .* first is that of image 22"):
        build(make_collection(vectors), index=index)


def test_more_lists_than_training_vectors_are_rejected(make_collection, clustered):
    with pytest.raises(UsageError, match="50 inverted lists need at least 50 images to train on"):
        build(make_collection(clustered(100, 8, 4)), index="ivf-flat", nlist=50, train_size=20)
