"""Loading of a generation: files are verified, indexes placed on devices, columns put into memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import pyarrow as pa

from lookalike_indexer.collection.commands import build_command
from lookalike_indexer.collection.current import coverage_note
from lookalike_indexer.collection.manifest import IndexEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.errors import DataLossError
from lookalike_indexer.indexing import two_stage
from lookalike_indexer.indexing.products import multiply_from_few
from lookalike_server.batching.batcher import ObserveLane
from lookalike_server.columns.clusterings import Clustering
from lookalike_server.columns.columns import NEEDED, Columns
from lookalike_server.columns.rows import MOST_BESIDE, Rows
from lookalike_server.columns.space_images import SpaceImages
from lookalike_server.columns.stored_vectors import StoredVectors
from lookalike_server.common.limits import Limits
from lookalike_server.common.placement_mode import OnLoss, PlacementMode
from lookalike_server.common.share import Share
from lookalike_server.common.thread_budget import ThreadBudget
from lookalike_server.filters.matching import Filters
from lookalike_server.generation.index_choice import chosen_indexes
from lookalike_server.generation.later_files import of_other_shards
from lookalike_server.generation.shared_files import SharedFiles, file_of_clustering, file_of_space
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Search, Space
from lookalike_server.generation.verification import FileVerifier
from lookalike_server.placement.build_searchers import load_index
from lookalike_server.placement.devices import Device
from lookalike_server.placement.placer import Placer
from lookalike_server.placement.share import share_of
from lookalike_server.search.effort import Planner
from lookalike_server.search.engine import Engine
from lookalike_server.search.share_engine import ShareEngine
from lookalike_server.shards.engine import RemoteEngine
from lookalike_server.shards.remote import RemoteSpace
from lookalike_server.shards.shard_set import ShardSet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loader:
    """Loader of the generations of a collection. `indexes` names those to search; see index_choice.py.

    Callers know the collection as `name`; an empty name means its folder's name. With `share`, only
    that share of each index is kept. With `shards`, no index is loaded, and those servers search
    instead. If other processes map what is loaded, `mapped` is the folder for it.
    """

    placement: PlacementMode
    devices: Sequence[Device]
    limits: Limits
    budget: ThreadBudget
    observe: ObserveLane = lambda lane: None
    on_loss: OnLoss = "retry"
    verifier: FileVerifier = field(default_factory=FileVerifier)
    indexes: tuple[str, ...] = ()
    name: str = ""
    share: Share | None = None
    shards: ShardSet | None = None
    mapped: Path | None = None

    def load(self, reader: CollectionReader, *, first: bool = False) -> Snapshot:
        """Load a generation beside the served one. Takes seconds, so do not call it on the event loop.

        Images that an index lacks are searched beside it; see rows.py. The `first` generation of a
        server is served before all of it is verified; `Snapshot.verify_rest` verifies the rest.

        Raises DataLossError if stored bytes are not what was written, and NotFoundError if no index
        has a name in `indexes`. Raises DeviceError if the devices cannot hold an index, and
        ShardsMovedOnError if shards have a newer generation. A failure leaves nothing behind.
        """
        started = time.monotonic()
        # If pandas is installed, Arrow imports it at its first conversion, needed or not, for a quarter of a second.
        # Done here, that is hidden at startup, because other threads are still hashing files.
        pa.nulls(0, pa.int64()).to_numpy(zero_copy_only=False)
        # Before anything is read, so that a mistake is reported at once.
        chosen = chosen_indexes(reader.manifest, self.indexes)
        indexes = reader.manifest.indexes.values()
        elsewhere = () if self.shards is None else {path for entry in indexes for path in entry.index_files}
        # Front processes read files that the engine process has verified.
        early = first and self.mapped is None
        later = self.verifier.later(reader, chosen.values()) if early else ()
        unhurried = of_other_shards(reader.manifest, self.share) if self.share or self.shards else ()
        opened, reader = reader, self.verifier.verified(reader, elsewhere, later, unhurried)
        with ExitStack() as while_loading, ExitStack() as undo, ThreadPoolExecutor(1, "tables") as beside:
            if self.shards is not None:
                while_loading.enter_context(
                    self.shards.waited_for(reader.manifest.generation, digest_of(reader.manifest))
                )
            # Front processes map what they need of a collection, which works only with local files.
            shared = SharedFiles(self.mapped) if self.mapped is not None and reader.storage.is_local else None
            if shared is not None:
                undo.callback(shared.remove)
            # In parallel to the indexes, because faiss releases the GIL while it reads.
            columns = beside.submit(lambda: self._columns(reader, shared))
            clusterings = beside.submit(
                lambda: {name: _clustering(reader, name, shared) for name in sorted(reader.manifest.clusterings)}
            )
            spaces: dict[str, Space] = {}
            for name in reader.manifest.spaces:
                spaces[name] = self._space(reader, name, chosen.get(name), columns, shared)
                undo.callback(spaces[name].close)
            held = columns.result()
            filters = Filters(reader, held.ids, held.filter_columns(), self.limits.max_filter_bytes)
            snapshot = Snapshot(reader, held, spaces, clusterings.result(), filters, self.name, shared)
            undo.pop_all()
        # The snapshot's own reader holds the generation now, until the snapshot is closed.
        opened.release()
        log.info(
            "loaded generation %d of %s: %d images in %.1f s",
            reader.manifest.generation, snapshot.name, len(snapshot.columns), time.monotonic() - started,
        )  # fmt: skip
        return snapshot

    def _columns(self, reader: CollectionReader, shared: SharedFiles | None) -> Columns:
        columns = Columns(reader.images(NEEDED), self.name or reader.name)
        if shared is None:
            return columns
        return Columns.of_arrays(shared.mapped("columns", columns.arrays), columns.collection)

    def _space(
        self,
        reader: CollectionReader,
        name: str,
        entry: IndexEntry | None,
        columns: Future[Columns],
        shared: SharedFiles | None,
    ) -> Space:
        ids, stored = reader.whole.ids(name), StoredVectors(reader.whole, name)
        if entry is None:
            return Space(reader, name, ids, stored, None)
        index = load_index(reader, entry) if self.shards is None else None
        rows = Rows(reader, entry, ids, stored)
        if rows.indexed != entry.rows:
            raise DataLossError(
                f"The index {name}/{entry.name} has {entry.rows} rows, and its embeddings have "
                f"{rows.indexed}; rebuild it with: {build_command(reader.storage.location, entry)}"
            )
        notes = _reply_notes(reader, entry, rows)
        # Columns first, before device memory is allocated that a failure would have to free.
        images = SpaceImages(columns.result(), rows.ids, rows.live)
        if shared is not None:
            images = SpaceImages.of_arrays(columns.result(), shared.mapped(file_of_space(reader, name), images.arrays))
        engine, planner = (
            self._elsewhere(reader, entry, rows) if index is None else self._engine_of(reader, entry, rows, index)
        )
        two_stages = index is not None and two_stage.is_two_stage(index)
        projection = two_stage.Projection(faiss.downcast_index(index)) if two_stages else None
        return Space(reader, name, ids, stored, Search(engine, planner, images, rows, notes, projection))

    def _engine_of(
        self, reader: CollectionReader, entry: IndexEntry, rows: Rows, index: faiss.Index
    ) -> tuple[Engine, Planner]:
        """Return the engine of an index, or of the share of an index, that this server searches."""
        multiply_from_few(int(index.d), self.budget.search)
        planner = Planner.of(entry, index, incomplete=rows.lacking > MOST_BESIDE)
        claim = self.budget.claim_search
        if self.share is not None:
            part = share_of(index, entry.metric, self.share, entry.recall)
            if part.facts.mode == "whole" and self.share.of > 1:
                log.warning("the index of the space %s cannot be split: each shard holds all of it", entry.space)
            return ShareEngine(rows, entry, self.share, part, self.limits, claim, self.observe), planner
        placed = Placer(self.placement, self.devices, self.on_loss).place(reader, entry, index, claim)
        # Last, because it starts threads and nothing after it can fail.
        return Engine(rows, entry, placed, self.limits, claim, self.observe), planner

    def _elsewhere(self, reader: CollectionReader, entry: IndexEntry, rows: Rows) -> tuple[Engine, Planner]:
        """Return the engine of an index that shards search."""
        if self.shards is None:
            raise AssertionError("an index that is not here is on shards")
        digest = digest_of(reader.manifest)
        facts = self.shards.facts(digest, entry.space, entry.name)
        planner = Planner(entry, facts.lossless, facts.uncompressed, incomplete=rows.lacking > MOST_BESIDE)
        space = RemoteSpace(self.shards, digest, entry.space)
        claim = self.budget.claim_search
        return RemoteEngine(space, facts, rows, entry, self.limits, claim, self.observe), planner


def _clustering(reader: CollectionReader, name: str, shared: SharedFiles | None) -> Clustering:
    clustering = Clustering(reader, name)
    if shared is None:
        return clustering
    return clustering.mapped(shared.mapped(file_of_clustering(reader, name), clustering.arrays))


def _reply_notes(reader: CollectionReader, entry: IndexEntry, rows: Rows) -> tuple[str, ...]:
    """Return the notes for replies about an index. Notes only for the log are logged."""
    note = coverage_note(reader.manifest, entry, reader.storage.location)
    if not note:
        return ()
    if rows.lacking > MOST_BESIDE:
        missed = f"{note} (only exact searches find the other {rows.lacking:,} images)"
        log.warning("%s", missed)
        return (missed,)
    # Folds of a writable server leave the index behind by design, up to this number of images.
    from lookalike_indexer.upkeep import fold

    level = logging.INFO if rows.lacking <= fold.MOST_BESIDE else logging.WARNING
    log.log(level, "%s (an exact search covers the other %d images)", note, rows.lacking)
    return ()
