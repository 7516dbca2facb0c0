"""Image ids of an index's rows, in a small file beside the index.

The parts of a space hold the ids of its rows too, between vectors that are a thousand times larger. A server reads this
file instead, so that it can answer before it has verified the digests of all vectors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import layout, schema
from lookalike_indexer.collection.manifest import IndexEntry, Manifest
from lookalike_indexer.collection.parts import read_part, read_rows
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError


class IdRange(NamedTuple):
    """The rows of an id file that belong to one embedding part."""

    file: str
    start: int
    stop: int


def write_ids(storage: Storage, index: str, parts: Sequence[str], rows: int | None = None) -> str:
    """Write the ids of an index's rows: those of some parts in order, or their first `rows`. Return the path.

    A correct existing file stays, because a published generation may refer to it.
    """
    path = layout.index_ids(index)
    if not _is_written(storage, path, parts, rows):
        options = schema.writer_options(schema.INDEX_IDS)
        with storage.staged(path) as temporary, pq.ParquetWriter(temporary, schema.INDEX_IDS, **options) as writer:
            for ids in _blocks(_of_parts(storage, parts, rows)):
                writer.write_table(pa.table([ids], schema.INDEX_IDS))
    return path


def id_ranges(manifest: Manifest) -> dict[str, IdRange]:
    """Return where id files duplicate the ids of embedding parts, by part."""
    found: dict[str, IdRange] = {}
    for entry in manifest.indexes.values():
        if entry.ids:
            start = 0
            for path in manifest.parts_of(entry):
                stop = start + (manifest.files[path].rows or 0)
                # Only the parts hold the ids of rows that the index gained after its file was written.
                if stop > entry.base_rows:
                    break
                found[path] = IdRange(entry.ids, start, stop)
                start = stop
    return found


def read_ids(storage: Storage, id_ranges: Mapping[str, IdRange], parts: Sequence[str]) -> Iterator[Int64]:
    """Yield the ids of embedding parts in order, shapes (n,), from id files if they cover these parts.

    If an id file is missing or damaged, the ids are read from the parts; `lookalike verify` reports the damage.
    """
    run: IdRange | None = None
    held: list[str] = []
    for path in parts:
        id_range = id_ranges.get(path)
        if run is not None and id_range is not None and (id_range.file, id_range.start) == (run.file, run.stop):
            run = run._replace(stop=id_range.stop)
            held.append(path)
            continue
        if run is not None:
            yield _of_run(storage, run, held)
        run, held = id_range, [path]
        if id_range is None:
            yield read_part(storage, path, ["id"]).column("id").to_numpy()
    if run is not None:
        yield _of_run(storage, run, held)


def difference(storage: Storage, manifest: Manifest, entry: IndexEntry) -> str:
    """Return how an id file differs from its parts, as text; "" if it does not."""
    start = 0
    for path in manifest.parts_of(entry):
        ids = read_part(storage, path, ["id"]).column("id").to_numpy()[: entry.base_rows - start]
        if not np.array_equal(ids, _read(storage, IdRange(entry.ids, start, start + len(ids)))):
            return f"has other ids than {path}"
        start += len(ids)
    if len(_read(storage, IdRange(entry.ids, start, start + 1))):
        return "has more ids than the parts that it is about"
    return ""


def _of_run(storage: Storage, run: IdRange, parts: Sequence[str]) -> Int64:
    """Return the ids of consecutive parts from their id file, or from the parts if it is incomplete."""
    with contextlib.suppress(IndexerError):
        ids = _read(storage, run)
        if len(ids) == run.stop - run.start:
            return ids
    return np.concatenate(list(_of_parts(storage, parts)))


def _read(storage: Storage, id_range: IdRange) -> Int64:
    ids: Int64 = read_rows(storage, id_range.file, id_range.start, id_range.stop).column("id").to_numpy()
    return ids


def _is_written(storage: Storage, path: str, parts: Sequence[str], rows: int | None) -> bool:
    """Return whether an id file exists and holds the ids of the parts, or of their first `rows`."""
    if not storage.exists(path):
        return False
    start = 0
    try:
        for ids in _blocks(_of_parts(storage, parts, rows)):
            if not np.array_equal(ids, _read(storage, IdRange(path, start, start + len(ids)))):
                return False
            start += len(ids)
        return not len(_read(storage, IdRange(path, start, start + 1)))
    except IndexerError:
        return False


def _of_parts(storage: Storage, parts: Sequence[str], rows: int | None = None) -> Iterator[Int64]:
    """Yield the ids of each part, shapes (n,), up to `rows` in total."""
    for path in parts:
        ids: Int64 = read_part(storage, path, ["id"]).column("id").to_numpy()
        yield ids[:rows]
        if rows is not None:
            rows = max(0, rows - len(ids))


def _blocks(columns: Iterator[Int64]) -> Iterator[Int64]:
    """Regroup the ids into blocks of one row group each; the last may be shorter."""
    held: list[Int64] = []
    count = 0
    for column in columns:
        held.append(column)
        count += len(column)
        while count >= schema.ROW_GROUP:
            whole = np.concatenate(held)
            yield whole[: schema.ROW_GROUP]
            held, count = [whole[schema.ROW_GROUP :]], count - schema.ROW_GROUP
    if count:
        yield np.concatenate(held)
