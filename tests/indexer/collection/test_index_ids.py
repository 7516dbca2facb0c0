"""The ids of an index's rows, in a file beside it and in the parts that it was built from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from lookalike_indexer.collection import index_ids, layout, schema
from lookalike_indexer.collection.index_ids import IdRange
from lookalike_indexer.collection.manifest import FORMAT, FileEntry, IndexEntry, Manifest, SourceEntry
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage

INDEX = "indexes/tiny/0.faiss"
IDS = [np.arange(10, 14), np.arange(20, 27), np.array([40, 30, 50])]


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path)


def write_parts(storage: Storage, columns=IDS) -> list[str]:
    kind = schema.embeddings(2, "float32")
    paths = []
    for number, ids in enumerate(columns):
        values = pa.FixedSizeListArray.from_arrays(
            pa.array(np.zeros(2 * len(ids), np.float32)), type=kind.field("embedding").type
        )
        paths.append(layout.embeddings("tiny", number))
        write_part(storage, paths[-1], pa.table([pa.array(ids), values], kind))
    return paths


def manifest_of(parts: list[str], ids: str) -> Manifest:
    entry = IndexEntry(
        "tiny", "Flat", "l2", 0, 0, [], 0, 40, 1, sum(map(len, IDS[:2])), INDEX, "0" * 64, parts=parts[:2], ids=ids
    )
    files = {path: FileEntry(1, "0" * 64, len(rows)) for path, rows in zip(parts, IDS, strict=True)}
    return Manifest(FORMAT, 1, SourceEntry("list", "/x"), files, [], [], indexes={"tiny/main": entry})


def test_reader_takes_ids_from_the_file_and_from_parts_it_lacks(storage) -> None:
    parts = write_parts(storage)
    manifest = manifest_of(parts, index_ids.write_ids(storage, INDEX, parts[:2]))
    reader = CollectionReader(storage, manifest)
    for chosen in ([0, 1, 2], [2, 0, 1], [1], [1, 0], [0, 2, 1], []):
        expected = np.concatenate([np.empty(0, np.int64), *(IDS[number] for number in chosen)])
        np.testing.assert_array_equal(reader.ids_of([parts[number] for number in chosen]), expected)
    # If the file beside the index has them, their part is not opened.
    (storage.root / parts[0]).unlink()
    np.testing.assert_array_equal(reader.ids_of(parts[:2]), np.concatenate(IDS[:2]))


def test_bytes_of_an_id_file_do_not_depend_on_the_parts(storage, monkeypatch) -> None:
    monkeypatch.setattr(schema, "ROW_GROUP", 5)
    path = storage.root / index_ids.write_ids(storage, INDEX, write_parts(storage))
    written = path.read_bytes()
    np.testing.assert_array_equal(read_part(storage, layout.index_ids(INDEX)).column("id"), np.concatenate(IDS))
    path.unlink()
    index_ids.write_ids(storage, INDEX, write_parts(storage, [np.concatenate(IDS)]))
    assert path.read_bytes() == written


def test_correct_file_stays_and_wrong_file_is_rewritten(storage) -> None:
    parts = write_parts(storage)
    path = storage.root / index_ids.write_ids(storage, INDEX, parts)
    stamp, written = storage.stamp(layout.index_ids(INDEX)), path.read_bytes()
    index_ids.write_ids(storage, INDEX, parts)
    assert storage.stamp(layout.index_ids(INDEX)) == stamp
    path.write_bytes(written[:-20])
    index_ids.write_ids(storage, INDEX, parts)
    assert path.read_bytes() == written


@pytest.mark.parametrize("damage", ["gone", "cut", "short"])
def test_ids_are_read_from_the_parts_if_the_file_is_damaged(storage, damage) -> None:
    parts = write_parts(storage)
    file = index_ids.write_ids(storage, INDEX, parts[:2])
    path = storage.root / file
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        write_part(storage, file, read_part(storage, file).slice(0, 6))
    reader = CollectionReader(storage, manifest_of(parts, file))
    np.testing.assert_array_equal(reader.ids_of(parts), np.concatenate(IDS))
    np.testing.assert_array_equal(reader.ids_of(parts[:0:-1]), np.concatenate(IDS[:0:-1]))


def test_first_rows_of_parts_are_written(storage, monkeypatch) -> None:
    monkeypatch.setattr(schema, "ROW_GROUP", 5)
    parts = write_parts(storage)
    for rows in (6, 11, 12):
        file = index_ids.write_ids(storage, INDEX, parts, rows)
        np.testing.assert_array_equal(read_part(storage, file).column("id"), np.concatenate(IDS)[:rows])


def test_differences_from_the_ids_of_an_index_are_found(storage) -> None:
    parts = write_parts(storage)
    file = index_ids.write_ids(storage, INDEX, parts[:2])
    manifest = manifest_of(parts, file)
    assert index_ids.id_ranges(manifest) == {parts[0]: IdRange(file, 0, 4), parts[1]: IdRange(file, 4, 11)}
    entry = manifest.indexes["tiny/main"]
    assert index_ids.difference(storage, manifest, entry) == ""
    swapped = dataclasses.replace(entry, parts=[parts[1], parts[0]])
    assert index_ids.difference(storage, manifest, swapped) == f"has other ids than {parts[1]}"
    fewer = dataclasses.replace(entry, parts=parts[:1])
    assert "more ids" in index_ids.difference(storage, manifest, fewer)
