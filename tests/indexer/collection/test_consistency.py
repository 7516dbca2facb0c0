from __future__ import annotations

import dataclasses
import hashlib
import re

import pytest

from lookalike_indexer.collection import encoding, generations
from lookalike_indexer.collection.consistency import is_inside
from lookalike_indexer.collection.manifest import FORMAT, FileEntry, Manifest, SourceEntry
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError

HOSTILE = ["../x", "images/../../x", "/etc/passwd", "", ".", "a\nb", "a\x1b[31m", "a\x00b"]
ENTRY = FileEntry(1, "0" * 64)
EMPTY = Manifest(FORMAT, 1, SourceEntry("directory", "/photos"), {}, [], [])


def published(tmp_path, found: Manifest) -> Storage:
    storage = Storage(tmp_path)
    storage.publish("generations/000001.json", encoding.encode(found).manifest)
    return storage


@pytest.mark.parametrize("path", HOSTILE)
def test_manifest_may_not_name_what_is_outside(tmp_path, path: str) -> None:
    storage = published(tmp_path, dataclasses.replace(EMPTY, files={path: ENTRY}))
    with pytest.raises(DataLossError, match="not a path inside a collection") as caught:
        generations.read(storage, 1)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_manifest_must_list_what_it_needs(tmp_path) -> None:
    storage = published(tmp_path, dataclasses.replace(EMPTY, images=["images/part-000000.parquet"]))
    with pytest.raises(DataLossError, match=r"needs the file 'images/part-000000\.parquet', but does not list it"):
        generations.read(storage, 1)


def test_non_utf8_manifest_is_data_loss() -> None:
    """With a valid checksum, so that the content after it is parsed."""
    good = encoding.encode(dataclasses.replace(EMPTY, default_space="marked")).manifest
    body = good.replace(b"marked", b"mark\xff\xff")
    old = re.search(rb'"checksum": "([0-9a-f]{64})",\n', body)
    assert old is not None
    rest = b"{\n" + body[old.end() :]
    sealed = body.replace(old[1], hashlib.sha256(rest).hexdigest().encode())
    with pytest.raises(DataLossError, match="not a readable manifest"):
        encoding.decode(sealed, "000001.json", {}.__getitem__)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_storage_rejects_paths_outside_the_collection(tmp_path, path: str) -> None:
    with pytest.raises(DataLossError, match="is outside the collection"):
        Storage(tmp_path / "c").read(path)


@pytest.mark.parametrize("path", ["a", "images/part-000000.parquet", "models/é/x..y", "..a/b"])
def test_ordinary_paths_are_inside(path: str) -> None:
    assert is_inside(path)
