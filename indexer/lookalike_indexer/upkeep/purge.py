"""Purge: rewrites every table without deleted images, so that gc removes them from the disk.

Parts keep their numbers and get other names, as revised parts do. The listing keeps only the key of a deleted image, so
that it is not listed again by mistake. Indexes are refilled without training. Centroids, which are means of many
images, stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike_indexer.attributes.summary import Summary
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import AttributesEntry, ClusteringEntry, GraphEntry, IndexEntry, Manifest
from lookalike_indexer.collection.parts import open_part, read_part, with_columns, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.inventory import about
from lookalike_indexer.experiments.stored_results import names_deleted
from lookalike_indexer.indexing.extend import refill_index
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.listing import listing_metadata
from lookalike_indexer.sources.revisions import revise_part

# From this share of deleted rows on, `compact` rewrites the parts without them.
WORTH_IT = 0.2
# The values that replace all other columns of a deleted image in the listing.
_BLANK = {
    "label": None,
    "uri": "",
    "bytes": 0,
    "modified_ns": 0,
    "source_label": None,
    "changed_sha256": None,
}


@dataclass(frozen=True)
class Purged:
    """The result of a purge: the deleted images, the number of rewritten files, and results that named an image."""

    images: int
    files: int
    results: list[str]


def dead_rows(storage: Storage, manifest: Manifest) -> int:
    """Return the number of deleted images that the images table still contains."""
    if not manifest.tombstones:
        return 0
    live = sum(map(len, CollectionReader(storage, manifest).stream_images(["id"])))
    return manifest.rows(manifest.images) - live


def is_worth_it(storage: Storage, manifest: Manifest) -> bool:
    """Return whether so many rows are deleted that skipping them costs more than rewriting the others."""
    return dead_rows(storage, manifest) >= max(1.0, WORTH_IT * manifest.rows(manifest.images))


def purge(storage: Storage, draft: Manifest, progress: Progress) -> tuple[Manifest, Purged]:
    """Return the completed draft without rows of deleted images; publish nothing.

    The caller holds the collection's lock. Raise DataLossError if a file was changed.
    """
    dead = dead_rows(storage, draft)
    purger = _Purger(CollectionReader(storage, draft))
    gone = [name for name in draft.results if names_deleted(purger.reader, name)]
    kept = {name: entry for name, entry in draft.results.items() if name not in gone}
    with progress.stage("Purging", len(draft.listing), "parts") as bar:
        purger.images(bar.advance)
        purger.others()
    without = generations.complete(storage, purger.renamed(dataclasses.replace(draft, results=kept)))
    without = _counted(storage, without)
    for key, index in sorted(draft.indexes.items()):
        if without.indexes[key].parts != index.parts:
            filled = refill_index(storage, without, without.indexes[key], progress)
            without = dataclasses.replace(without, indexes={**without.indexes, key: filled})
    return generations.complete(storage, without), Purged(dead, len(purger.paths), gone)


@dataclass
class _Purger:
    """Writes parts without deleted images; `paths` maps each part with deleted images to the rewritten one."""

    reader: CollectionReader
    paths: dict[str, str] = field(default_factory=dict)
    # The digest of the images of each rewritten part, by its number: see schema.ABOUT.
    _marks: dict[int, bytes] = field(default_factory=dict)

    def images(self, advance: Callable[[int], None]) -> None:
        """Rewrite the listing and the images, on which the other tables depend."""
        manifest, storage = self.reader.manifest, self.reader.storage
        for path in manifest.listing:
            table = with_columns(read_part(storage, path), schema.SOURCE.names)
            dead = np.flatnonzero(~self.reader.live(table.column("id").to_numpy()))
            changes = dict.fromkeys(dead.tolist(), _BLANK)
            revised = revise_part(storage, path, changes, listing_metadata(manifest.source))
            if revised != path:
                self.paths[path] = revised
            advance(1)
        for path in manifest.images:
            if self._small(path, {}):
                table = read_part(storage, self.paths[path], ["id", "sha256"])
                self._marks[layout.part_number(path)] = about(table).encode()

    def others(self) -> None:
        """Rewrite all other tables."""
        manifest = self.reader.manifest
        small = [path for model in manifest.models.values() for path in (*model.predictions, *model.rejects)]
        for path in small:
            self._small(path, self._mark(path))
        for path in _once(path for space in manifest.spaces.values() for path in space.parts):
            self._embeddings(path)
        made: list[ClusteringEntry | IndexEntry | GraphEntry] = [
            *manifest.clusterings.values(),
            *manifest.indexes.values(),
            *manifest.graphs.values(),
        ]
        # Include embeddings that have changed since an entry was made from them.
        for path in _once(path for entry in made for path in manifest.parts_of(entry)):
            if path not in self.paths:
                self._embeddings(path)
        for clustering in manifest.clusterings.values():
            for path in clustering.assignments:
                self._small(path, {})
        for attributes in manifest.attributes.values():
            for path in attributes.parts:
                self._small(path, {})
        for graph in manifest.graphs.values():
            for path in graph.neighbors:
                self._neighbors(path)

    def renamed(self, draft: Manifest) -> Manifest:
        """Return the manifest with the rewritten parts."""

        def now(before: Iterable[str]) -> list[str]:
            return [self.paths.get(path, path) for path in before]

        return dataclasses.replace(
            draft,
            listing=now(draft.listing),
            images=now(draft.images),
            models={
                name: dataclasses.replace(entry, predictions=now(entry.predictions), rejects=now(entry.rejects))
                for name, entry in draft.models.items()
            },
            spaces={name: dataclasses.replace(entry, parts=now(entry.parts)) for name, entry in draft.spaces.items()},
            clusterings={
                name: dataclasses.replace(entry, parts=now(draft.parts_of(entry)), assignments=now(entry.assignments))
                for name, entry in draft.clusterings.items()
            },
            indexes={name: _renamed(entry, now(draft.parts_of(entry)), draft) for name, entry in draft.indexes.items()},
            graphs={
                name: dataclasses.replace(entry, parts=now(entry.parts), neighbors=now(entry.neighbors))
                for name, entry in draft.graphs.items()
            },
            attributes={
                name: dataclasses.replace(entry, parts=now(entry.parts)) for name, entry in draft.attributes.items()
            },
        )

    def _mark(self, path: str) -> dict[bytes, bytes]:
        mark = self._marks.get(layout.part_number(path))
        return {} if mark is None else {schema.ABOUT: mark}

    def _small(self, path: str, changed: Mapping[bytes, bytes]) -> bool:
        """Rewrite a table that fits into memory, if it has deleted images; return whether it has."""
        table = self._read(path)
        live = self.reader.live(table.column("id").to_numpy())
        if live.all():
            return False
        metadata = {**(table.schema.metadata or {}), **changed}
        kept = table.filter(pa.array(live)).replace_schema_metadata(metadata or None)
        write_part(self.reader.storage, self._target(path, live), kept)
        return True

    def _neighbors(self, path: str) -> None:
        """Rewrite a part of a graph, also removing deleted images from the lists of others."""
        table = self._read(path)
        ids, neighbors, distances = self.reader.graph_part(path)
        live = self.reader.live(ids)
        if live.all() and self.reader.live(neighbors).all():
            return
        ids, neighbors, distances = self.reader.living_lists(ids, neighbors, distances)
        k = neighbors.shape[1]
        columns = schema.graph(k)
        lists = [
            pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=columns.field(name).type)
            for name, values in (("neighbor", neighbors), ("distance", distances))
        ]
        written = pa.table([pa.array(ids), *lists], schema=columns)
        write_part(
            self.reader.storage, self._target(path, live), written.replace_schema_metadata(table.schema.metadata)
        )

    def _embeddings(self, path: str) -> None:
        """Rewrite a part of a space, one row group at a time, if it has deleted images."""
        live = self.reader.live(self.reader.ids_of([path]))
        if live.all():
            return
        self.reader.verify(path)
        with open_part(self.reader.storage, path) as first:
            columns = first.schema_arrow.with_metadata({**(first.schema_arrow.metadata or {}), **self._mark(path)})
        options = schema.writer_options(columns)
        size = options.pop("row_group_size")
        target = self._target(path, live)
        with self.reader.storage.staged(target) as temporary, pq.ParquetWriter(temporary, columns, **options) as writer:
            for block in self._blocks(path, size):
                writer.write_table(block.cast(columns), row_group_size=size)

    def _blocks(self, path: str, size: int) -> Iterator[pa.Table]:
        """Yield the remaining rows of a part in blocks of `size`, the last one shorter."""
        held: pa.Table | None = None
        with open_part(self.reader.storage, path) as part:
            for batch in part.iter_batches(batch_size=size):
                live = pa.array(self.reader.live(batch.column("id").to_numpy(zero_copy_only=False)))
                block = pa.Table.from_batches([batch.filter(live)]).replace_schema_metadata()
                held = block if held is None else pa.concat_tables([held, block])
                while len(held) >= size:
                    yield held.slice(0, size)
                    held = held.slice(size)
        if held is not None and len(held):
            yield held

    def _read(self, path: str) -> pa.Table:
        self.reader.verify(path)
        return read_part(self.reader.storage, path)

    def _target(self, path: str, live: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
        """Return the name of a part without some rows, from the digest of the part and these rows."""
        sha256 = self.reader.manifest.files[path].sha256
        self.paths[path] = layout.revised(path, digest_of([sha256, np.packbits(live).tobytes().hex()]))
        return self.paths[path]


def _renamed(entry: IndexEntry, parts: list[str], draft: Manifest) -> IndexEntry:
    """Return an index entry with the rewritten parts; its id file is dropped if rows have changed."""
    same = parts == draft.parts_of(entry)
    return dataclasses.replace(entry, parts=parts, ids=entry.ids if same else "")


def _once(paths: Iterable[str]) -> Iterator[str]:
    yield from dict.fromkeys(paths)


def _counted(storage: Storage, manifest: Manifest) -> Manifest:
    """Return the manifest with the present row counts, and attribute summaries without deleted images."""
    return dataclasses.replace(
        manifest,
        spaces={
            name: dataclasses.replace(entry, rows=manifest.rows(entry.parts)) for name, entry in manifest.spaces.items()
        },
        clusterings={
            name: dataclasses.replace(entry, rows=manifest.rows(entry.assignments))
            for name, entry in manifest.clusterings.items()
        },
        graphs={
            name: dataclasses.replace(entry, rows=manifest.rows(entry.neighbors))
            for name, entry in manifest.graphs.items()
        },
        attributes={name: _new_entry(storage, entry) for name, entry in manifest.attributes.items()},
    )


def _new_entry(storage: Storage, entry: AttributesEntry) -> AttributesEntry:
    summary, rows = Summary({column.name: column.type for column in entry.columns}), 0
    for path in entry.parts:
        table = read_part(storage, path)
        summary.add(table)
        named = [column.is_valid().to_numpy() for column in table.drop_columns(["id"]).columns]
        rows += int(np.logical_or.reduce(named).sum()) if named else 0
    return dataclasses.replace(entry, columns=summary.columns, rows=min(entry.rows, rows))
