"""A collection that has grown a little keeps its centroids and its trained index."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.upkeep.growing import grow
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify


@pytest.fixture
def made(make_collection, clustered):
    """Make a collection of 600 of 1,800 vectors with a clustering and an index; return the vectors."""

    def make(index="IVF8,Flat"):
        vectors = clustered(1800, 16, 12, spread=0.3)
        storage = make_collection(vectors[:600], part_rows=250)
        draft = generations.require_latest(storage)
        draft, _ = run_cluster(storage, draft, ClusterSettings(clusters=12), Silent())
        draft, _ = run_build(storage, draft, BuildSettings(index=index), Silent())
        generations.publish(storage, draft)
        return storage, vectors

    return make


def grown(storage):
    draft, done = grow(storage, generations.require_latest(storage), Silent())
    generations.publish(storage, draft)
    return CollectionReader.open(str(storage.root)), done


def test_few_images_are_assigned_and_searched_beside_the_index(made, grow_collection):
    storage, vectors = made()
    before = CollectionReader.open(str(storage.root)).manifest
    grow_collection(storage, vectors[600:650])
    reader, done = grown(storage)
    assert (done.clusterings, done.indexes) == ({"tiny/k12": "extended"}, {"tiny/main": "kept"})
    after = reader.manifest.clusterings["tiny/k12"]
    assert (after.rows, after.trained_rows) == (650, 600)
    assert after.centroids == before.clusterings["tiny/k12"].centroids
    assert after.assignments[:3] == before.clusterings["tiny/k12"].assignments
    assert reader.manifest.indexes["tiny/main"] == before.indexes["tiny/main"]
    apart = np.linalg.norm(prepare(vectors[600:650], "cosine")[:, None] - reader.centroids("tiny/k12"), axis=2)
    np.testing.assert_array_equal(reader.assignments("tiny/k12").clusters[600:], apart.argmin(axis=1))
    assert run_verify(storage, VerifySettings(deep=True, images=0), Silent()).damages == []
    again, same = grown(storage)
    assert (again.manifest.generation, same.clusterings) == (reader.manifest.generation, {})


@pytest.mark.parametrize("kind", ["IVF8,Flat", "HNSW16", "ivf-sq8"])
def test_more_are_added_to_the_index_without_training(made, grow_collection, kind):
    storage, vectors = made(kind)
    before = CollectionReader.open(str(storage.root)).manifest.indexes["tiny/main"]
    grow_collection(storage, vectors[600:1000])
    reader, done = grown(storage)
    assert done.indexes == {"tiny/main": "extended"}
    entry = reader.manifest.indexes["tiny/main"]
    assert (entry.rows, entry.trained_rows, entry.trained_on) == (1000, 600, before.trained_on)
    assert (entry.default_nprobe, entry.made) == (before.default_nprobe, before.made)
    index = read_index(reader, entry)
    assert index.ntotal == 1000
    rows = index.search(prepare(vectors[600:1000], "cosine"), 1)[1][:, 0]
    assert np.mean(rows == np.arange(600, 1000)) > 0.8
    assert run_verify(storage, VerifySettings(deep=True, images=0), Silent()).damages == []


def test_index_is_rebuilt_when_the_rows_double(made, grow_collection):
    storage, vectors = made()
    grow_collection(storage, vectors[600:900])
    assert grown(storage)[1].indexes == {"tiny/main": "extended"}
    grow_collection(storage, vectors[900:1200])
    reader, done = grown(storage)
    assert (done.clusterings, done.indexes) == ({"tiny/k12": "made again"}, {"tiny/main": "made again"})
    entry = reader.manifest.indexes["tiny/main"]
    assert (entry.rows, entry.trained_rows) == (1200, 0)


def test_fallen_recall_is_a_reason_to_rebuild(made, grow_collection):
    storage, _ = made()
    # All of them are in one list, far from the index's training data.
    new = np.random.default_rng(1).standard_normal((500, 16)).astype(np.float32) * 0.2 + 3
    grow_collection(storage, new)
    reader, done = grown(storage)
    assert done.indexes["tiny/main"] in ("extended", "made again")
    entry = reader.manifest.indexes["tiny/main"]
    ladder = {point.nprobe: point.recall for point in entry.recall if point.k == 10}
    assert ladder[entry.default_nprobe] >= 0.9
