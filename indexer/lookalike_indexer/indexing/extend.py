"""Addition of new rows to an index without training it again.

The new rows are stored in a separate file, an increment, as long as there are few increments. Several are then merged
into one. When they exceed a share of the index, the whole index is rewritten.
"""

from __future__ import annotations

import dataclasses

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.index_ids import write_ids
from lookalike_indexer.collection.manifest import IndexEntry, IndexIncrement, Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.files import (
    Record,
    add_increments,
    finished,
    read_base,
    read_index,
    write_increment,
    write_index,
    write_record,
)
from lookalike_indexer.indexing.increments import Increments, is_supported
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.recall import measure_recall
from lookalike_indexer.indexing.recipes import held_out_count
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows, read_rows

# For a server each increment costs little more to load than its bytes, and one file.
MOST_INCREMENTS = 8
# When the increments have this share of the rows of the index's first file, both are rewritten as one. Each row is
# therefore written at most five times, whatever the size of the index.
MOST_SHARE = 0.25


def extend_index(
    storage: Storage, draft: Manifest, entry: IndexEntry, progress: Progress, most_queries: int | None = None
) -> IndexEntry:
    """Return the index with all rows of its space; it has the first ones already. Its recall is measured again.

    The default nprobe stays. At most `most_queries` queries measure the recall; with 0 the recall stays too. A file
    that a killed run left is reused. Raise IndexerError if an embedding is not finite. Raise DataLossError if a file
    differs from the published one.
    """
    reader = CollectionReader(storage, draft)
    before, parts = draft.parts_of(entry), draft.spaces[entry.space].parts
    added = parts[len(before) :]
    rows = draft.rows(added)
    digest = digest_of([entry.digest, [draft.files[path].sha256 for path in added], entry.rows])
    kept = _retained_increments(entry, rows)
    target = layout.index(entry.space, digest) if kept is None else layout.increment(entry.space, digest)
    record = finished(storage, entry.space, digest, target)
    if record is None:
        target, record = _extended(reader, entry, added, digest, kept, progress, most_queries)
    grown = dataclasses.replace(
        entry,
        parts=list(parts),
        rows=entry.rows + rows,
        digest=digest,
        recall=record.recall,
        recall_queries=record.recall_queries,
        trained_rows=entry.trained_rows or entry.rows,
    )
    if kept is None or not target.endswith(layout.INCREMENT):
        return dataclasses.replace(grown, path=target, ids=write_ids(storage, target, parts), increments=[])
    gained = grown.rows - entry.base_rows - sum(one.rows for one in kept)
    return dataclasses.replace(grown, increments=[*kept, IndexIncrement(target, gained)])


def _retained_increments(entry: IndexEntry, rows: int) -> list[IndexIncrement] | None:
    """Return the increments to keep beside the new one; None if the whole index is to be rewritten.

    The new one has `rows` rows, and those of all increments that are not kept.
    """
    if entry.rows + rows - entry.base_rows > MOST_SHARE * entry.base_rows:
        return None
    return entry.increments if len(entry.increments) < MOST_INCREMENTS else []


def refill_index(storage: Storage, draft: Manifest, entry: IndexEntry, progress: Progress) -> IndexEntry:
    """Return the trained index, refilled with the present rows of its parts; its recall is measured again.

    If it lacks images of its space, the previous recall is kept. Errors as in `extend_index`.
    """
    reader = CollectionReader(storage, draft)
    digest = digest_of([entry.digest, [draft.files[path].sha256 for path in entry.parts]])
    record = finished(storage, entry.space, digest) or _refilled(reader, entry, digest, progress)
    return dataclasses.replace(
        entry,
        rows=draft.rows(entry.parts),
        path=layout.index(entry.space, digest),
        ids=write_ids(storage, layout.index(entry.space, digest), entry.parts),
        digest=digest,
        recall=record.recall,
        recall_queries=record.recall_queries,
        increments=[],
    )


def measure_again(reader: CollectionReader, entry: IndexEntry, progress: Progress) -> Record:
    """Measure an index with all rows of its space again and return its record. Errors as in `extend_index`."""
    return _recorded(read_index(reader, entry), entry.index_files[-1], reader, entry, entry.digest, progress)


def _refilled(reader: CollectionReader, entry: IndexEntry, digest: str, progress: Progress) -> Record:
    index = read_index(reader, entry)
    index.reset()
    _add(index, reader, entry, entry.parts, progress)
    path = layout.index(entry.space, digest)
    write_index(reader.storage, path, index)
    return _recorded(index, path, reader, entry, digest, progress)


def _extended(
    reader: CollectionReader,
    entry: IndexEntry,
    added: list[str],
    digest: str,
    kept: list[IndexIncrement] | None,
    progress: Progress,
    most_queries: int | None,
) -> tuple[str, Record]:
    """Write the new rows, or the whole index, and its record; return the written path."""
    index = read_base(reader, entry)
    if kept is None or not is_supported(index):
        add_increments(index, reader, entry.increments)
        _add(index, reader, entry, added, progress)
        path = layout.index(entry.space, digest)
        write_index(reader.storage, path, index)
        return path, _recorded(index, path, reader, entry, digest, progress, most_queries)
    add_increments(index, reader, kept)
    follows = Increments(index)
    add_increments(index, reader, entry.increments[len(kept) :])
    _add(index, reader, entry, added, progress)
    path = layout.increment(entry.space, digest)
    write_increment(reader.storage, path, follows.gained())
    return path, _recorded(index, path, reader, entry, digest, progress, most_queries)


def _add(index: faiss.Index, reader: CollectionReader, entry: IndexEntry, parts: list[str], progress: Progress) -> None:
    with (
        progress.stage(f"add to {entry.space}/{entry.name}", reader.manifest.rows(parts), "image") as bar,
        build.one_thread_for_graphs(index),
    ):
        for path in parts:
            for ids, vectors in reader.stream_part(path):
                _check_finite(entry.space, ids, vectors)
                build.add(index, prepare(vectors, entry.metric))
                bar.advance(len(ids))


def _recorded(
    index: faiss.Index,
    path: str,
    reader: CollectionReader,
    entry: IndexEntry,
    digest: str,
    progress: Progress,
    most_queries: int | None = None,
) -> Record:
    """Measure a written index and write its record."""
    if most_queries == 0 or index.ntotal != reader.manifest.spaces[entry.space].rows:
        record = Record(reader.storage.digest(path), entry.recall, entry.recall_queries, not describe(index).lossless)
        write_record(reader.storage, entry.space, digest, record)
        return record
    rows = reader.space(entry.space)[1].rows
    count = held_out_count(rows)
    asked = choose_rows(rows, count if most_queries is None else min(count, most_queries), entry.seed)
    asked.sort()
    queries = read_rows(reader, entry.space, asked, entry.metric, progress)
    recall = measure_recall(index, reader, entry.space, entry.metric, asked, queries, progress)
    measured = len(asked) if recall and not describe(index).lossless else 0
    record = Record(reader.storage.digest(path), recall, measured)
    write_record(reader.storage, entry.space, digest, record)
    return record


def _check_finite(space: str, ids: Int64, vectors: Float32) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise IndexerError(
            f"The embedding of image {ids[~finite][0]} in the space {space} holds NaN or infinite values: embed it "
            "again, with --dtype float32 in case it did not fit float16."
        )
