"""An index that grows keeps its file: the growth is a separate file, which every command handles."""

from __future__ import annotations

import dataclasses

import faiss
import numpy as np
import pytest

from lookalike_indexer.collection import encoding, generations, layout
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.garbage import collect
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError, MismatchError
from lookalike_indexer.indexing import extend
from lookalike_indexer.indexing.build_stage import run_build
from lookalike_indexer.indexing.extend import extend_index
from lookalike_indexer.indexing.files import read_index
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.upkeep.compact import compact
from lookalike_indexer.upkeep.purge import purge
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.verification.deleted import remains_of
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

KEY = "tiny/main"


@pytest.fixture
def made(make_collection, clustered):
    """Make a collection of 600 of 1,000 vectors with an index; return the vectors."""

    def make(index="IVF8,Flat", train_size=None):
        vectors = clustered(1000, 16, 12, spread=0.3)
        storage = make_collection(vectors[:600], part_rows=250)
        draft, _ = run_build(
            storage, generations.require_latest(storage), BuildSettings(index=index, train_size=train_size), Silent()
        )
        generations.publish(storage, draft)
        return storage, vectors

    return make


@pytest.fixture
def extended(grow_collection):
    """Publish the collection with more images and the grown index; return a reader."""

    def grow(storage, vectors, queries=None):
        grow_collection(storage, vectors)
        draft = generations.require_latest(storage)
        entry = extend_index(storage, draft, draft.indexes[KEY], Silent(), queries)
        generations.publish(storage, dataclasses.replace(draft, indexes={KEY: entry}))
        return CollectionReader.open(str(storage.root))

    return grow


def check(reader, vectors):
    """Check that the index has all rows, in order."""
    entry = reader.manifest.indexes[KEY]
    index = read_index(reader, entry)
    assert index.ntotal == entry.rows == len(vectors)
    rows = index.search(prepare(vectors, entry.metric), 1)[1][:, 0]
    assert np.mean(rows == np.arange(len(vectors))) > 0.85
    return faiss.serialize_index(index)


@pytest.mark.parametrize("kind", ["Flat", "IVF8,Flat", "HNSW16", "ivf-sq8"])
def test_few_images_are_written_beside_the_index(made, extended, kind) -> None:
    storage, vectors = made(kind)
    before = generations.require_latest(storage)
    for start in (600, 640, 680):
        reader = extended(storage, vectors[start : start + 40], queries=32)
    entry = reader.manifest.indexes[KEY]
    assert (before.format, reader.manifest.format) == (2, 4)
    assert entry.path == before.indexes[KEY].path
    assert [one.rows for one in entry.increments] == [40, 40, 40]
    assert (entry.rows, entry.base_rows, entry.trained_rows) == (720, 600, 600)
    sizes = [reader.manifest.files[path].bytes for path in entry.index_files]
    assert max(sizes[1:]) < sizes[0] / 3
    if kind != "Flat":
        assert entry.recall_queries == 32
        assert entry.recall != before.indexes[KEY].recall
    check(reader, vectors[:720])
    assert run_verify(storage, VerifySettings(deep=True, images=0), Silent()).damages == []
    # The same as an index that was written as a whole.
    whole = reader.manifest.indexes[KEY]
    index = read_index(CollectionReader(storage, before), before.indexes[KEY])
    for start in (600, 640, 680):
        # Loading a graph resets its random generator.
        index = faiss.deserialize_index(faiss.serialize_index(index))
        with extend.build.one_thread_for_graphs(index):
            extend.build.add(index, prepare(vectors[start : start + 40], whole.metric))
    np.testing.assert_array_equal(faiss.serialize_index(index), check(reader, vectors[:720]))


def test_increments_are_merged_and_many_are_rewritten_as_one_index(made, extended, monkeypatch) -> None:
    monkeypatch.setattr(extend, "MOST_INCREMENTS", 2)
    storage, vectors = made()
    base = generations.require_latest(storage).indexes[KEY].path
    counts, end = [], 600
    for more in (20, 30, 10, 40, 51, 49):
        end += more
        reader = extended(storage, vectors[end - more : end])
        entry = reader.manifest.indexes[KEY]
        counts.append(([one.rows for one in entry.increments], entry.path == base))
        check(reader, vectors[:end])
    # 151 rows are more than a quarter of 600.
    assert counts == [
        ([20], True), ([20, 30], True), ([60], True), ([60, 40], True), ([], False), ([49], False),
    ]  # fmt: skip


def test_index_of_another_kind_is_written_whole(made, extended) -> None:
    storage, vectors = made("IVF8,PQ8x4fs,Refine(Flat)")
    before = generations.require_latest(storage).indexes[KEY].path
    reader = extended(storage, vectors[600:640])
    entry = reader.manifest.indexes[KEY]
    assert (entry.increments, entry.path != before, reader.manifest.format) == ([], True, 2)
    assert read_index(reader, entry).ntotal == entry.rows == 640


def test_killed_run_continues_with_the_increment(made, grow_collection, monkeypatch) -> None:
    storage, vectors = made()
    grow_collection(storage, vectors[600:640])
    draft = generations.require_latest(storage)
    entry = extend_index(storage, draft, draft.indexes[KEY], Silent())
    monkeypatch.setattr(extend, "_add", lambda *_: pytest.fail("it was written before"))
    assert extend_index(storage, draft, draft.indexes[KEY], Silent()) == entry


def test_older_reader_rejects_increments(made, extended, monkeypatch) -> None:
    storage, vectors = made()
    extended(storage, vectors[600:640])
    monkeypatch.setattr(encoding, "FORMAT", 3)
    with pytest.raises(MismatchError, match=r"has collection format 4 .* a newer one wrote it"):
        generations.require_latest(storage)


def test_equal_build_keeps_increments_and_another_build_does_not(made, extended) -> None:
    storage, vectors = made("Flat")
    reader = extended(storage, vectors[600:640])
    draft, report = run_build(storage, reader.manifest, BuildSettings(index="Flat"), Silent())
    assert report.reused
    assert draft.indexes == reader.manifest.indexes
    assert report.bytes == sum(reader.manifest.files[path].bytes for path in reader.manifest.indexes[KEY].index_files)
    draft, report = run_build(storage, reader.manifest, BuildSettings(index="IVF4,Flat"), Silent())
    assert (report.reused, draft.indexes[KEY].increments) == (False, [])


def test_gc_keeps_what_is_needed_and_removes_the_rest(made, extended, monkeypatch) -> None:
    monkeypatch.setattr(extend, "MOST_INCREMENTS", 1)
    storage, vectors = made()
    first = extended(storage, vectors[600:620]).manifest.indexes[KEY].increments[0].path
    second = extended(storage, vectors[620:640]).manifest.indexes[KEY]
    with writing(storage):
        removed = collect(storage, 1)
    assert first in removed.files
    assert layout.index_record(first) in removed.files
    assert not set(second.files) & set(removed.files)
    assert removed.foreign == []
    check(CollectionReader.open(str(storage.root)), vectors[:640])


def test_damage_is_found_and_told(made, extended) -> None:
    storage, vectors = made()
    reader = extended(storage, vectors[600:640])
    entry = reader.manifest.indexes[KEY]
    path = storage.local(entry.increments[0].path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataLossError, match="increment"):
        read_index(CollectionReader.open(str(storage.root)), entry)
    (damage,) = run_verify(storage, VerifySettings(deep=True, images=0), Silent()).damages
    assert damage.path == entry.increments[0].path
    assert damage.mend.startswith("remove it and run: lookalike build")


def rebuilt(storage):
    """Publish the result of the same build."""
    settings = BuildSettings(index="IVF8,Flat", train_size=400)
    draft, report = run_build(storage, generations.require_latest(storage), settings, Silent())
    return generations.publish(storage, draft).indexes[KEY], report


def damages(storage):
    return {one.path: one.mend for one in run_verify(storage, VerifySettings(deep=True, images=0), Silent()).damages}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("is_removed", [True, False])
def test_grown_index_with_a_damaged_file_is_rebuilt(made, extended, which, is_removed) -> None:
    storage, vectors = made(train_size=400)
    lost = extended(storage, vectors[600:640], queries=0).manifest.indexes[KEY].index_files[which]
    if is_removed:
        storage.local(lost).unlink()
    else:
        storage.local(lost).write_bytes(b"nothing")
    assert damages(storage)[lost].startswith("remove it and run: lookalike build")
    entry, report = rebuilt(storage)
    assert (report.reused, entry.increments, entry.trained_rows, entry.rows) == (False, [], 0, 640)
    assert lost not in entry.files
    check(CollectionReader.open(str(storage.root)), vectors[:640])
    # The earlier generations need it.
    assert "gc" in damages(storage)[lost]
    with writing(storage):
        collect(storage, 1)
    assert damages(storage) == {}


@pytest.mark.parametrize("damage", [b"nothing", None])
def test_ids_of_a_grown_index_are_listed_as_damaged_and_written_again(made, extended, damage) -> None:
    storage, vectors = made(train_size=400)
    reader = extended(storage, vectors[600:640], queries=0)
    delete(storage, ids=[4, 10])
    ids = reader.manifest.indexes[KEY].ids
    path = storage.local(ids)
    path.write_bytes(damage) if damage else path.unlink()
    assert damages(storage).keys() == {ids}
    assert len(CollectionReader.open(str(storage.root)).ids()) == 638
    entry, report = rebuilt(storage)
    assert (report.reused, entry.ids, len(entry.increments)) == (True, ids, 1)
    assert damages(storage) == {}


@pytest.mark.parametrize("more", [40, 300])
def test_build_measures_the_recall_that_a_fold_kept(made, extended, more) -> None:
    storage, vectors = made(train_size=400)
    before = generations.require_latest(storage).indexes[KEY]
    folded = extended(storage, vectors[600 : 600 + more], queries=0).manifest.indexes[KEY]
    assert (folded.recall, bool(folded.increments)) == (before.recall, more == 40)
    entry, report = rebuilt(storage)
    assert (report.reused, entry.files, entry.recall_queries) == (True, folded.files, (600 + more) // 10)
    assert entry.recall != folded.recall
    again, _ = rebuilt(storage)
    assert again == entry
    assert damages(storage) == {}


def test_build_gives_ids_to_a_grown_index_of_an_older_release(made, extended) -> None:
    storage, vectors = made(train_size=400)
    draft = generations.require_latest(storage)
    older = dataclasses.replace(draft.indexes[KEY], ids="")
    storage.local(draft.indexes[KEY].ids).unlink()
    generations.publish(storage, dataclasses.replace(draft, indexes={KEY: older}))
    assert extended(storage, vectors[600:640], queries=0).manifest.indexes[KEY].ids == ""
    entry, _ = rebuilt(storage)
    assert (entry.ids, len(entry.increments)) == (layout.index_ids(entry.path), 1)
    assert len(read_part(storage, entry.ids)) == 600
    with writing(storage):
        collect(storage, 1)
    assert damages(storage) == {}


def test_deleted_images_are_looked_for_in_increments_and_purged(made, extended) -> None:
    storage, vectors = made()
    manifest = extended(storage, vectors[600:640]).manifest
    entry = manifest.indexes[KEY]
    keys = CollectionReader(storage, manifest).images(["key"]).column("key").to_pylist()
    delete(storage, keys=[keys[3], keys[610]])
    assert entry.path in remains_of(storage, keys[3]).files
    assert entry.increments[0].path not in remains_of(storage, keys[3]).files
    assert entry.increments[0].path in remains_of(storage, keys[610]).files
    assert entry.path not in remains_of(storage, keys[610]).files
    with writing(storage):
        draft, _ = purge(storage, generations.require_latest(storage), Silent())
        generations.publish(storage, draft)
        collect(storage, 1)
    assert remains_of(storage, keys[610]).files == []
    reader = CollectionReader.open(str(storage.root))
    assert reader.manifest.indexes[KEY].increments == []
    check(reader, np.delete(vectors[:640], [3, 610], axis=0))


def test_compact_keeps_increments(made, extended) -> None:
    storage, vectors = made()
    before = extended(storage, vectors[600:640]).manifest.indexes[KEY]
    with writing(storage):
        draft, _ = compact(storage, generations.require_latest(storage), 1000, Silent())
        generations.publish(storage, draft)
    reader = CollectionReader.open(str(storage.root))
    entry = reader.manifest.indexes[KEY]
    assert (entry.files, entry.increments) == (before.files, before.increments)
    assert entry.parts != before.parts
    check(reader, vectors[:640])
