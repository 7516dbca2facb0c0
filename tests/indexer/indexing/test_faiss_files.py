"""faiss reads only bytes whose digest is in the manifest."""

from __future__ import annotations

import dataclasses

import faiss
import pytest

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import DataLossError
from lookalike_indexer.indexing.files import read_index


def test_index_file_is_not_opened_unless_its_digest_fits(make_collection, clustered, monkeypatch) -> None:
    vectors = clustered(40, 8, 4)
    storage = make_collection(vectors)
    index = faiss.IndexFlatL2(8)
    index.add(vectors)
    with storage.staged("indexes/tiny/0.faiss") as temporary:
        faiss.write_index(index, str(temporary))
    entry = IndexEntry("tiny", "Flat", "l2", 0, 0, [], 0, 40, 1, 40, "indexes/tiny/0.faiss", "0" * 64)
    draft = dataclasses.replace(generations.require_latest(storage), indexes={"tiny/main": entry})
    generations.publish(storage, draft)
    reader = CollectionReader.open(str(storage.root))
    opened = []
    original = faiss.read_index
    monkeypatch.setattr(faiss, "read_index", lambda *given: opened.append(given) or original(*given))
    assert read_index(reader, entry).ntotal == 40
    assert len(opened) == 1

    path = storage.local(entry.path)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataLossError, match="its digest differs"):
        read_index(reader, entry)
    assert len(opened) == 1
