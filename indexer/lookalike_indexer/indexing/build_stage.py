"""Indexing stage of a space: choose, sample, train, fill, measure recall."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import faiss
import numpy as np

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.current import next_creation_order
from lookalike_indexer.collection.default_space import with_default_space
from lookalike_indexer.collection.index_ids import write_ids
from lookalike_indexer.collection.manifest import IndexEntry, Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.settings_digest import settings_digest
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.indexing import build
from lookalike_indexer.indexing.choice import pick
from lookalike_indexer.indexing.early_checks import check_build
from lookalike_indexer.indexing.extend import measure_again
from lookalike_indexer.indexing.files import Record, finished, write_index, write_record
from lookalike_indexer.indexing.params import describe
from lookalike_indexer.indexing.recall import AT, measure_recall, measured_at
from lookalike_indexer.indexing.recall_ladder import default_nprobe, ladder_at, ladder_recall
from lookalike_indexer.indexing.recipes import Recipe, held_out_count
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.sample import choose_rows, read_rows


@dataclass(frozen=True)
class BuildReport:
    """The result of the stage: `reason` explains the choice; `reused` means that an earlier run finished the file."""

    entry: IndexEntry
    reason: str
    bytes: int
    reused: bool

    @property
    def recall(self) -> float | None:
        """The recall@10 with the default nprobe; None if it was not measured."""
        return ladder_recall(self.entry.recall, self.entry.default_nprobe) or None


def run_build(
    storage: Storage,
    draft: Manifest,
    settings: BuildSettings,
    progress: Progress,
    machines: Machines | None = None,
) -> tuple[Manifest, BuildReport]:
    """Index a space of a completed draft and return the draft with the index; publish nothing.

    An index that an earlier run with the same settings and embeddings finished is reused. With `machines`, those of a
    cluster find the exact neighbors for the recall; `Machines.check` must have passed. Raise NotFoundError if the
    space does not exist. Raise NotBuiltError if the space is empty. Raise UsageError for an index that faiss cannot
    create or train. Raise IndexerError if an embedding is not finite.
    """
    reader = CollectionReader(storage, draft)
    space, entry = reader.space(settings.space)
    if entry.rows == 0:
        raise NotBuiltError(f"The space {space} has no embeddings to index; index a source with readable images.")
    check_build(settings, entry.rows, entry.dim)
    chosen = pick(reader, space, settings, progress)
    recipe = chosen.recipe
    digest = _digest(draft, space, recipe, settings)
    nlist = describe(build.empty_index(recipe.factory, entry.dim, settings.metric, settings.seed)).nlist

    known = next((one for one in draft.indexes.values() if one.digest == digest), None)
    # If the same index has grown, it consists of its first file and the increments.
    grown = known if known is not None and known.increments and _is_as_written(reader, known) else None
    record = finished(storage, space, digest, "" if grown is None else grown.increments[-1].path)
    reused = grown is not None or record is not None
    if not reused:
        # A grown index would give other bytes under the same name, which generations refer to.
        digest = _new_digest(draft, space, recipe, settings)
        record = finished(storage, space, digest)
        reused = record is not None
    if record is None and grown is None:
        record = _build(reader, space, recipe, digest, settings, progress, machines)
    elif record is None or _is_old(record, entry.rows):
        grows = known is not None and known.digest == digest and (known.increments or known.trained_rows)
        record = (
            measure_again(reader, known, progress)
            if known is not None and grows
            else _measured_again(reader, space, recipe, digest, settings, progress)
        )
    path = layout.index(space, digest) if grown is None else grown.path
    increments = [] if grown is None else grown.increments
    base_rows = draft.spaces[space].rows - sum(one.rows for one in increments)
    key = f"{space}/{settings.name}"
    index = IndexEntry(
        space=space,
        factory=recipe.factory,
        metric=settings.metric,
        nlist=nlist,
        default_nprobe=default_nprobe(ladder_at(record.recall, AT), settings.target_recall, nlist),
        recall=record.recall,
        recall_queries=record.recall_queries,
        trained_on=recipe.train_size,
        seed=settings.seed,
        rows=draft.spaces[space].rows,
        path=path,
        digest=digest,
        candidates=chosen.candidates,
        sampled=chosen.sampled,
        choice=chosen.digest,
        name=settings.name,
        asked=settings.index,
        asked_nlist=settings.nlist,
        asked_train_size=settings.train_size,
        target_recall=settings.target_recall,
        max_memory=settings.max_memory,
        parts=list(entry.parts),
        made=next_creation_order(draft.indexes, key, space),
        ids=write_ids(storage, path, entry.parts, base_rows),
        trained_rows=known.trained_rows if known is not None and known.digest == digest else 0,
        increments=increments,
    )
    completed = generations.complete(storage, dataclasses.replace(draft, indexes={**draft.indexes, key: index}))
    return with_default_space(completed), BuildReport(
        index, recipe.reason, sum(map(storage.size, index.index_files)), reused
    )


def _digest(draft: Manifest, space: str, recipe: Recipe, settings: BuildSettings) -> str:
    """Return the digest of an index of the same embeddings and settings, even if `compact` merged its parts, or a new
    one.
    """
    made = (recipe.factory, recipe.train_size, settings.metric, settings.seed)
    for entry in draft.indexes.values():
        same = (entry.factory, entry.trained_on, entry.metric, entry.seed) == made
        if same and entry.space == space and entry.parts == draft.spaces[space].parts:
            return entry.digest
    return _new_digest(draft, space, recipe, settings)


def _new_digest(draft: Manifest, space: str, recipe: Recipe, settings: BuildSettings) -> str:
    decisive = {
        "factory": recipe.factory,
        "train_size": recipe.train_size,
        "metric": settings.metric,
        "seed": settings.seed,
    }
    return settings_digest(draft, space, decisive)


def _is_as_written(reader: CollectionReader, entry: IndexEntry) -> bool:
    """Return whether all files that an index is read from exist and match their digests."""
    return all(
        reader.storage.exists(path) and reader.storage.digest(path) == reader.manifest.files[path].sha256
        for path in entry.index_files
    )


def _is_old(record: Record, rows: int) -> bool:
    """Return whether the recall is that of fewer images, or was measured at other k than the present ones."""
    return record.kept or bool(record.recall_queries and {point.k for point in record.recall} != set(measured_at(rows)))


def _build(
    reader: CollectionReader,
    space: str,
    recipe: Recipe,
    digest: str,
    settings: BuildSettings,
    progress: Progress,
    machines: Machines | None,
) -> Record:
    _, entry = reader.space(space)
    path = layout.index(space, digest)
    index = build.empty_index(recipe.factory, entry.dim, settings.metric, settings.seed)
    train_rows, query_rows = _split(entry.rows, recipe.train_size, settings.seed)
    sample = read_rows(reader, space, np.concatenate([query_rows, train_rows]), settings.metric, progress)
    queries = sample[: len(query_rows)].copy()
    if recipe.train_size:
        build.train(index, sample[len(query_rows) :], recipe.factory, settings.gpus, progress)
    del sample
    build.fill(index, reader.whole, space, settings.metric, progress)
    write_index(reader.storage, path, index)
    recall = measure_recall(index, reader, space, settings.metric, query_rows, queries, progress, machines)
    measured = len(query_rows) if recall and not describe(index).lossless else 0
    record = Record(reader.storage.digest(path), recall, measured)
    write_record(reader.storage, space, digest, record)
    return record


def _measured_again(
    reader: CollectionReader, space: str, recipe: Recipe, digest: str, settings: BuildSettings, progress: Progress
) -> Record:
    """Measure a finished index again whose recall an earlier version measured at fewer k; the index stays."""
    path = layout.index(space, digest)
    index = faiss.read_index(str(reader.storage.local(path)))
    _, query_rows = _split(reader.space(space)[1].rows, recipe.train_size, settings.seed)
    queries = read_rows(reader, space, query_rows, settings.metric, progress)
    recall = measure_recall(index, reader, space, settings.metric, query_rows, queries, progress)
    record = Record(reader.storage.digest(path), recall, len(query_rows))
    write_record(reader.storage, space, digest, record)
    return record


def _split(rows: int, train_size: int, seed: int) -> tuple[Int64, Int64]:
    """Return the training rows and the query rows, ascending; they overlap only if there are too few."""
    queries = held_out_count(rows)
    picked = choose_rows(rows, train_size + queries, seed)
    return np.sort(picked[len(picked) - train_size :]), np.sort(picked[:queries])
