from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.manifest import FileEntry
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import CollectionLockedError, DataLossError, NotFoundError


@pytest.fixture
def storage(make_collection):
    return make_collection(np.ones((250, 4), np.float32))


def renamed(draft, default_space="other"):
    return dataclasses.replace(draft, default_space=default_space)


def test_empty_place_has_no_generation(tmp_path):
    storage = Storage(tmp_path / "nothing")
    assert generations.numbers(storage) == []
    assert generations.latest(storage) is None
    with pytest.raises(NotFoundError, match="nothing holds no collection; make one with: lookalike index SOURCE"):
        generations.require_latest(storage)
    assert not storage.root.exists()


def test_first_generation_is_1_and_lists_every_file_with_digest(storage):
    manifest = generations.require_latest(storage)
    assert manifest.generation == 1
    tables = ["source", "images", "embeddings/tiny"]
    assert sorted(manifest.files) == sorted(
        f"{table}/{layout.part_name(part)}" for table in tables for part in range(3)
    )
    for path, entry in manifest.files.items():
        assert entry == FileEntry(storage.size(path), storage.digest(path), 50 if "000002" in path else 100)
    assert manifest.rows(manifest.images) == 250


def test_publishing_the_same_again_is_no_new_generation(storage):
    manifest = generations.require_latest(storage)
    assert generations.publish(storage, manifest) == manifest
    assert generations.publish(storage, dataclasses.replace(manifest, generation=99, files={})) == manifest
    assert generations.numbers(storage) == [1]


def test_each_change_is_a_new_generation_and_old_generations_stay(storage):
    first = generations.require_latest(storage)
    second = generations.publish(storage, renamed(first))
    third = generations.publish(storage, first)
    assert [second.generation, third.generation] == [2, 3]
    assert generations.numbers(storage) == [1, 2, 3]
    assert generations.read(storage, 1) == first
    assert generations.latest(storage) == third


def test_numbers_are_ordered_as_numbers(storage):
    for name in ("999999.json", "1000000.json", "notes.json", "000007.txt"):
        storage.local(f"generations/{name}").write_bytes(b"{}")
    assert generations.numbers(storage) == [1, 999999, 1000000]


def test_two_writers_cannot_publish_the_same_number(storage, monkeypatch):
    first = generations.require_latest(storage)
    generations.publish(storage, renamed(first))
    monkeypatch.setattr(generations, "latest", lambda _: first)
    with pytest.raises(CollectionLockedError, match="published by another process"):
        generations.publish(storage, renamed(first, "third"))


def test_named_but_missing_file_is_not_published(storage):
    first = generations.require_latest(storage)
    draft = dataclasses.replace(first, images=[*first.images, "images/part-000003.parquet"])
    with pytest.raises(DataLossError, match=r"part-000003\.parquet"):
        generations.publish(storage, draft)
    assert generations.numbers(storage) == [1]


def test_file_removed_from_the_manifest_is_no_longer_listed(storage):
    first = generations.require_latest(storage)
    second = generations.publish(storage, dataclasses.replace(first, listing=[]))
    assert not any(path.startswith("source/") for path in second.files)
    assert storage.exists("source/part-000000.parquet")
