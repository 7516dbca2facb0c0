"""Index files: written with a record, read only after their digest is verified."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import msgspec
import numpy as np
import numpy.typing as npt

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import IndexEntry, IndexIncrement, RecallPoint
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.typed_json import TypedJson
from lookalike_indexer.errors import DataLossError
from lookalike_indexer.indexing import increments


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The measurements of a finished index file before it is published, stored beside it.

    `kept` means that the recall is that of the index before it gained rows.
    """

    sha256: str
    recall: list[RecallPoint]
    recall_queries: int
    kept: bool = False


RECORD_JSON = TypedJson(Record)


def write_index(storage: Storage, path: str, index: faiss.Index) -> None:
    """Write an index from CPU memory."""
    # Not by file name: faiss ignores the error if its last buffer does not fit on the disk.
    with storage.staged(path) as temporary, temporary.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read_index(reader: CollectionReader, entry: IndexEntry) -> faiss.Index:
    """Read the index of a generation into CPU memory.

    faiss trusts its input, so a file that differs from the published one is never passed to it: DataLossError.
    """
    index = read_base(reader, entry)
    add_increments(index, reader, entry.increments)
    return index


def add_increments(index: faiss.Index, reader: CollectionReader, gained: Sequence[IndexIncrement]) -> None:
    """Add the increments of an index, in order. Raise DataLossError if a file differs from the published one."""
    for one in gained:
        arrays = _read_increment(reader, one.path)
        before = int(index.ntotal)
        increments.apply(index, arrays, reader.storage.shown(one.path))
        if index.ntotal != before + one.rows:
            raise DataLossError(
                f"{reader.storage.shown(one.path)} adds {index.ntotal - before} rows and the manifest says {one.rows}; "
                "build the index again."
            )


def read_base(reader: CollectionReader, entry: IndexEntry) -> faiss.Index:
    """Read an index as `read_index` does, without the increments."""
    reader.verify(entry.path)
    path = reader.storage.local(entry.path)
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise DataLossError(
            f"{path} is not an index that this version of faiss reads; delete it and build the index again."
        ) from error
    # If the storage knows which file was verified, it checks that the file is unchanged.
    reader.storage.local(entry.path)
    return index


def write_increment(storage: Storage, path: str, gained: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the rows that an index gained. Equal arrays give equal bytes."""
    with storage.staged(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **gained)  # type: ignore[arg-type]


def _read_increment(reader: CollectionReader, path: str) -> dict[str, npt.NDArray[Any]]:
    reader.verify(path)
    local = reader.storage.local(path)
    try:
        with np.load(local, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataLossError(f"{local} is not an increment of an index; build the index again.") from error
    reader.storage.local(path)
    return arrays


def write_record(storage: Storage, space: str, digest: str, record: Record) -> None:
    with storage.staged(_record_path(space, digest)) as temporary:
        temporary.write_bytes(msgspec.json.encode(record, order="sorted"))


def finished(storage: Storage, space: str, digest: str, path: str = "") -> Record | None:
    """Return the record of an index that an earlier run finished; None if there is none, or its file differs.

    `path` is that of its increment, if one was written.
    """
    path, record_path = path or layout.index(space, digest), _record_path(space, digest)
    if not (storage.exists(path) and storage.exists(record_path)):
        return None
    try:
        record = RECORD_JSON.decode(storage.read(record_path))
    except msgspec.DecodeError:
        return None
    return record if storage.digest(path) == record.sha256 else None


def _record_path(space: str, digest: str) -> str:
    return layout.index_record(layout.index(space, digest))
