"""The image of each row of an index, in a small file beside it.

The parts of a space have the ids of its rows, too, between vectors that take a thousand times as many bytes. A server
reads this file instead, so that it can answer before it has compared all vectors with their digests.
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


class Place(NamedTuple):
    """The rows of a file of ids that a part of embeddings has."""

    file: str
    start: int
    stop: int


def write_ids(storage: Storage, index: str, parts: Sequence[str], rows: int | None = None) -> str:
    """Write the ids of an index's rows, those of some parts in order or their first `rows`; returns the path.

    A file that is there and right stays: a published generation may name it.
    """
    path = layout.index_ids(index)
    if not _is_written(storage, path, parts, rows):
        options = schema.writer_options(schema.INDEX_IDS)
        with storage.staged(path) as temporary, pq.ParquetWriter(temporary, schema.INDEX_IDS, **options) as writer:
            for ids in _blocks(_of_parts(storage, parts, rows)):
                writer.write_table(pa.table([ids], schema.INDEX_IDS))
    return path


def places(manifest: Manifest) -> dict[str, Place]:
    """Where the ids of parts of embeddings are besides in these, by the part."""
    found: dict[str, Place] = {}
    for entry in manifest.indexes.values():
        if entry.ids:
            start = 0
            for path in manifest.parts_of(entry):
                stop = start + (manifest.files[path].rows or 0)
                # Of rows that the index gained since its file was written, the parts have the ids.
                if stop > entry.base_rows:
                    break
                found[path] = Place(entry.ids, start, stop)
                start = stop
    return found


def read_ids(storage: Storage, places: Mapping[str, Place], parts: Sequence[str]) -> Iterator[Int64]:
    """The ids of some parts of embeddings in order, shapes (n,), from the files of ids where these have them.

    Where such a file is missing or damaged, the parts tell; `lookalike verify` lists the damage.
    """
    run: Place | None = None
    held: list[str] = []
    for path in parts:
        place = places.get(path)
        if run is not None and place is not None and (place.file, place.start) == (run.file, run.stop):
            run = run._replace(stop=place.stop)
            held.append(path)
            continue
        if run is not None:
            yield _of_run(storage, run, held)
        run, held = place, [path]
        if place is None:
            yield read_part(storage, path, ["id"]).column("id").to_numpy()
    if run is not None:
        yield _of_run(storage, run, held)


def difference(storage: Storage, manifest: Manifest, entry: IndexEntry) -> str:
    """How a file of ids differs from the parts that it is about, part by part; "" where it does not."""
    start = 0
    for path in manifest.parts_of(entry):
        ids = read_part(storage, path, ["id"]).column("id").to_numpy()[: entry.base_rows - start]
        if not np.array_equal(ids, _read(storage, Place(entry.ids, start, start + len(ids)))):
            return f"has other ids than {path}"
        start += len(ids)
    if len(_read(storage, Place(entry.ids, start, start + 1))):
        return "has more ids than the parts that it is about"
    return ""


def _of_run(storage: Storage, run: Place, parts: Sequence[str]) -> Int64:
    """The ids of parts that follow each other, from their file of ids, or from themselves where it lacks any."""
    with contextlib.suppress(IndexerError):
        ids = _read(storage, run)
        if len(ids) == run.stop - run.start:
            return ids
    return np.concatenate(list(_of_parts(storage, parts)))


def _read(storage: Storage, place: Place) -> Int64:
    ids: Int64 = read_rows(storage, place.file, place.start, place.stop).column("id").to_numpy()
    return ids


def _is_written(storage: Storage, path: str, parts: Sequence[str], rows: int | None) -> bool:
    """Whether a file of ids is there and has those of some parts, or of their first `rows`."""
    if not storage.exists(path):
        return False
    start = 0
    try:
        for ids in _blocks(_of_parts(storage, parts, rows)):
            if not np.array_equal(ids, _read(storage, Place(path, start, start + len(ids)))):
                return False
            start += len(ids)
        return not len(_read(storage, Place(path, start, start + 1)))
    except IndexerError:
        return False


def _of_parts(storage: Storage, parts: Sequence[str], rows: int | None = None) -> Iterator[Int64]:
    """The ids of each part, shapes (n,), up to `rows` of them in all."""
    for path in parts:
        ids: Int64 = read_part(storage, path, ["id"]).column("id").to_numpy()
        yield ids[:rows]
        if rows is not None:
            rows = max(0, rows - len(ids))


def _blocks(columns: Iterator[Int64]) -> Iterator[Int64]:
    """The same numbers in blocks of a row group each, however they came; the last is shorter."""
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
