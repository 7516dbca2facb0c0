"""Deleted images stay in the files and appear in no result."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations, tombstones
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import CollectionLockedError
from lookalike_indexer.graph.graph_stage import run_graph
from lookalike_indexer.graph.settings import GraphSettings
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

# Ids are 3 * row + 1; see the fixture.
DELETED = [4, 7, 31, 58]


@pytest.fixture
def storage(make_collection, clustered):
    return make_collection(clustered(60, 8, 4), labels=["ab"[row % 2] for row in range(60)], part_rows=25)


def opened(storage):
    return CollectionReader.open(str(storage.root))


def live(reader):
    return [number for number in range(1, 180, 3) if number not in DELETED]


def test_generation_without_them_keeps_its_format(storage):
    assert generations.require_latest(storage).format == 2
    assert delete(storage, keys=["nobody.jpg"]).generation == 1


def test_older_readers_refuse_the_format(storage):
    assert delete(storage, ids=DELETED).generation == 2
    manifest = generations.require_latest(storage)
    assert (manifest.format, manifest.rows(manifest.tombstones)) == (3, 4)
    assert b'"format": 3' in storage.read("generations/000002.json")


def test_deleting_counts_what_is_not_there(storage):
    done = delete(storage, keys=["00004.jpg", "nobody.jpg"], ids=[7, 8])
    assert (done.ids, done.unknown) == ([4, 7], 2)
    again = delete(storage, keys=["00004.jpg"], ids=[7])
    assert (again.ids, again.unknown, again.generation) == ([], 2, done.generation)


def test_generation_before_them_has_the_images(storage):
    delete(storage, ids=DELETED)
    assert len(CollectionReader.open(str(storage.root), 1).images()) == 60


def test_tables_leave_them_out(storage, publish_clustering, publish_predictions):
    publish_clustering(storage, [row % 4 for row in range(60)])
    publish_predictions(storage, [["cat", "dog"]] * 60)
    delete(storage, ids=DELETED)
    reader = opened(storage)
    space, entry = reader.space()
    assert entry.rows == 56
    assert reader.images(["key"]).num_rows == 56
    assert reader.images().column("id").to_pylist() == live(reader)
    assert reader.ids().tolist() == live(reader)
    assert reader.assignments("tiny/made").ids.tolist() == live(reader)
    assert reader.predictions("tiny").column("id").to_pylist() == live(reader)
    ids, vectors = map(np.concatenate, zip(*reader.stream(rows=7), strict=True))
    assert ids.tolist() == live(reader)
    np.testing.assert_array_equal(reader.vectors(space, np.arange(56)), vectors)
    whole = np.concatenate([block for _, block in reader.whole.stream()])
    np.testing.assert_array_equal(vectors, whole[(np.array(live(reader)) - 1) // 3])


def test_distances_to_centroids_skip_deleted_images(storage):
    draft, _ = run_cluster(storage, generations.require_latest(storage), ClusterSettings(clusters=4), Silent())
    generations.publish(storage, draft)
    before = opened(storage).assignments("tiny/k4")
    delete(storage, ids=DELETED)
    after = opened(storage).assignments("tiny/k4")
    rows = (after.ids - 1) // 3
    np.testing.assert_array_equal(after.distances, before.distances[rows])
    np.testing.assert_array_equal(after.places, rows)


def test_clusterings_indexes_and_graphs_are_made_without_them(storage):
    delete(storage, ids=DELETED)
    draft = generations.require_latest(storage)
    draft, clusters = run_cluster(storage, draft, ClusterSettings(clusters=4), Silent())
    draft, index = run_build(storage, draft, BuildSettings(index="IVF4,Flat"), Silent())
    draft, _ = run_graph(storage, draft, GraphSettings(k=5), Silent())
    generations.publish(storage, draft)
    assert clusters.sizes.sum() == 56
    assert index.entry.rows == 60  # entry i is row i of the parts
    assert index.entry.recall[-1].recall == 1
    for ids, neighbors, _ in opened(storage).stream_graph():
        assert not np.isin(DELETED, ids).any()
        assert not np.isin(DELETED, neighbors).any()
        assert (neighbors >= 0).all()
    assert run_verify(storage, VerifySettings(deep=True, images=0), Silent()).damages == []


def test_older_graph_has_shorter_lists_until_it_is_rebuilt(storage):
    settings = GraphSettings(k=5)
    draft, _ = run_graph(storage, generations.require_latest(storage), settings, Silent())
    generations.publish(storage, draft)
    delete(storage, ids=DELETED)
    lists = np.concatenate([neighbors for _, neighbors, _ in opened(storage).stream_graph()])
    assert len(lists) == 56
    assert (lists < 0).any()
    assert not np.isin(DELETED, lists).any()
    assert all((np.diff((row >= 0).astype(int)) <= 0).all() for row in lists)  # missing hits are at the end
    draft, _ = run_graph(storage, generations.require_latest(storage), settings, Silent())
    generations.publish(storage, draft)
    assert all((neighbors >= 0).all() for _, neighbors, _ in opened(storage).stream_graph())


def test_many_changes_become_one_part(storage):
    for number in range(1, 61, 3):
        delete(storage, ids=[number])
    manifest = generations.require_latest(storage)
    assert len(manifest.tombstones) < 16
    stored = tombstones.stored(storage, manifest)
    assert stored.column("id").to_pylist() == list(range(1, 61, 3))
    assert stored.column("generation").to_pylist() == list(range(2, 22))
    assert set(stored.column("reason").to_pylist()) == {"deleted"}


def test_earlier_tombstone_is_kept(storage):
    draft = generations.require_latest(storage)
    draft = tombstones.with_tombstones(storage, draft, [4], "replaced", sequence=17)
    draft = tombstones.with_tombstones(storage, draft, [4, 7], "gone", sequence=18)
    rows = tombstones.stored(storage, draft).to_pylist()
    assert [(row["id"], row["reason"], row["sequence"]) for row in rows] == [(4, "replaced", 17), (7, "gone", 18)]


def test_only_one_writes(storage, monkeypatch):
    from lookalike_indexer.collection.lock import writing

    with writing(storage), pytest.raises(CollectionLockedError):
        delete(storage, ids=[4])


def test_reader_of_whole_rows_reads_nothing_more(storage):
    reader = opened(storage)
    assert reader.whole is reader
    assert reader.live_rows("tiny") is None
    assert dataclasses.replace(reader.manifest).needed_format == 2
