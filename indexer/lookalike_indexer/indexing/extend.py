"""Adding the images that an index lacks to it, without training it again."""

from __future__ import annotations

import dataclasses

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.index_ids import write_ids
from lookalike_indexer.collection.manifest import IndexEntry, Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.files import Record, finished, read_index, write_index, write_record
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.recall import measure_recall
from lookalike_indexer.indexing.recipes import held_back
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows, read_rows


def extend_index(storage: Storage, draft: Manifest, entry: IndexEntry, progress: Progress) -> IndexEntry:
    """The index with all rows of its space, whose first ones it has; its recall is measured anew.

    The default nprobe stays. A file that a killed run left is used as it is. IndexerError: an embedding that is not
    finite. DataLossError: the file is not the one that was published.
    """
    reader = CollectionReader(storage, draft)
    before, parts = draft.parts_of(entry), draft.spaces[entry.space].parts
    added = parts[len(before) :]
    digest = digest_of([entry.digest, [draft.files[path].sha256 for path in added], entry.rows])
    record = finished(storage, entry.space, digest) or _extended(reader, entry, added, digest, progress)
    return dataclasses.replace(
        entry,
        parts=list(parts),
        rows=draft.rows(parts),
        path=layout.index(entry.space, digest),
        ids=write_ids(storage, layout.index(entry.space, digest), parts),
        digest=digest,
        recall=record.recall,
        recall_queries=record.recall_queries,
        trained_rows=entry.trained_rows or entry.rows,
    )


def refill_index(storage: Storage, draft: Manifest, entry: IndexEntry, progress: Progress) -> IndexEntry:
    """The index, as it was trained, with the rows that its parts have now; its recall is measured anew.

    Where it lacks images of its space, the recall that was measured before is kept. Errors as `extend_index`.
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
    )


def _refilled(reader: CollectionReader, entry: IndexEntry, digest: str, progress: Progress) -> Record:
    index = read_index(reader, entry)
    index.reset()
    _add(index, reader, entry, entry.parts, progress)
    return _recorded(index, reader, entry, digest, progress)


def _extended(reader: CollectionReader, entry: IndexEntry, added: list[str], digest: str, progress: Progress) -> Record:
    index = read_index(reader, entry)
    _add(index, reader, entry, added, progress)
    return _recorded(index, reader, entry, digest, progress)


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
    index: faiss.Index, reader: CollectionReader, entry: IndexEntry, digest: str, progress: Progress
) -> Record:
    """Write an index and what is known of it."""
    write_index(reader.storage, layout.index(entry.space, digest), index)
    if index.ntotal != reader.manifest.spaces[entry.space].rows:
        record = Record(reader.storage.digest(layout.index(entry.space, digest)), entry.recall, entry.recall_queries)
        write_record(reader.storage, entry.space, digest, record)
        return record
    rows = reader.space(entry.space)[1].rows
    asked = choose_rows(rows, held_back(rows), entry.seed)
    asked.sort()
    queries = read_rows(reader, entry.space, asked, entry.metric, progress)
    recall = measure_recall(index, reader, entry.space, entry.metric, asked, queries, progress)
    measured = len(asked) if recall and not describe(index).lossless else 0
    record = Record(reader.storage.digest(layout.index(entry.space, digest)), recall, measured)
    write_record(reader.storage, entry.space, digest, record)
    return record


def _check_finite(space: str, ids: Int64, vectors: Float32) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise IndexerError(
            f"The embedding of image {ids[~finite][0]} in the space {space} holds NaN or infinite values: embed it "
            "again, with --dtype float32 in case it did not fit float16."
        )
