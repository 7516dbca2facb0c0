"""Writer of a part's files, in an order that lets a run continue after it was killed between two files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa

from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import read_part, with_columns, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.typed_json import TypedJson
from lookalike_indexer.embedding.inventory import PartFiles, Todo, about, listing_identity
from lookalike_indexer.embedding.part import PartTables
from lookalike_indexer.embedding.plan import ModelPlan

_PART_FILES = TypedJson(PartFiles)


@dataclass(frozen=True)
class PartCounts:
    """The counts of a part's images that were to be embedded.

    `retried` of them had been rejected before, and `recovered` of those were embedded now.
    """

    embedded: int
    rejected: int
    retried: int = 0
    recovered: int = 0


@dataclass(frozen=True)
class Written:
    """An embedded part: its present files, the paths that were written, and the counts."""

    files: PartFiles
    paths: tuple[str, ...]
    counts: PartCounts


@dataclass
class PartStore:
    """Writer of the parts of one model.

    The first files of a part are written under its number. If some of its images were embedded before, the rows of this
    run are merged into revised files beside the old ones, which other generations refer to.
    """

    storage: Storage
    draft: Manifest | None
    plan: ModelPlan

    def __post_init__(self) -> None:
        self._published = generations.PublishedFiles(self.storage)

    def write(self, todo: Todo, tables: PartTables) -> Written:
        """Write the tables of a part."""
        writing = _Writing(self.storage, self.draft, todo, self.plan.identity, self._published)
        files = self._first(writing, todo, tables) if todo.files.images is None else self._add(writing, todo, tables)
        if any(not layout.is_first(path) for path in writing.paths) and todo.inputs:
            self._record(todo, files)
        return Written(files, tuple(writing.paths), self._counts(todo, tables))

    def read_counts(self, files: PartFiles) -> Written:
        """Return the result of a run that wrote all files of a part; the number of retried images is unknown."""
        tables = [files.images] if files.images else []
        embedded, rejected = (
            sum(read_part(self.storage, path, ["id"]).num_rows for path in paths) for paths in (tables, files.rejects)
        )
        paths = [files.images, files.predictions, *files.rejects, *files.embeddings.values()]
        return Written(files, tuple(path for path in paths if path), PartCounts(embedded, rejected))

    def _counts(self, todo: Todo, tables: PartTables) -> PartCounts:
        before = [read_part(self.storage, path, ["id"]).column("id").to_numpy() for path in todo.files.rejects]
        rejected = np.concatenate([np.empty(0, np.int64), *before])
        retried = np.isin(todo.rows.column("id").to_numpy(), rejected).sum()
        recovered = np.isin(tables.images.column("id").to_numpy(), rejected).sum()
        return PartCounts(tables.images.num_rows, tables.rejects.num_rows, int(retried), int(recovered))

    def finished(self, todo: Todo) -> PartFiles | None:
        """Return the files that a killed run wrote for the same part and rows, if they are complete."""
        path = self._record_path(todo)
        if not todo.inputs or not self.storage.exists(path):
            return None
        try:
            files = _PART_FILES.decode(self.storage.read(path))
        except msgspec.DecodeError:
            return None
        paths = [files.images, files.predictions, *files.rejects, *files.embeddings.values()]
        return files if all(path is None or self.storage.exists(path) for path in paths) else None

    def _first(self, writing: _Writing, todo: Todo, tables: PartTables) -> PartFiles:
        """Write rejects and images before the tables that depend on them, so that a later run can complete the part."""
        alias, number, listing = self.plan.alias, todo.files.number, todo.files.listing
        images = tables.images.replace_schema_metadata({schema.ABOUT: listing_identity(self.storage, listing).encode()})
        mark = about(images)
        refused = _together([tables.rejects, todo.refused], tables.rejects)
        rejects = writing.put(layout.rejects(alias, number), _about(refused, mark))
        kept = writing.put(layout.images(number), images)
        predictions = None
        if tables.predictions is not None:
            predictions = writing.put(layout.predictions(alias, number), _about(tables.predictions, mark))
        embeddings = {
            name: writing.put(layout.embeddings(name, number), _about(table, mark))
            for name, table in tables.embeddings.items()
        }
        return PartFiles(number, listing, kept, predictions, (rejects,), embeddings)

    def _add(self, writing: _Writing, todo: Todo, tables: PartTables) -> PartFiles:
        """Merge the rows of this run into those of the part."""
        alias, before = self.plan.alias, todo.files
        number = before.number
        images = self._images(str(before.images), tables.images)
        kept = writing.replace(before.images, layout.images(number), images)
        mark = about(images)
        tried = todo.rows.column("id").to_numpy()
        rejects = self._rejects(before.rejects, tables.rejects, tried, todo.refused)
        old = before.rejects[0] if len(before.rejects) == 1 else None
        first = layout.rejects(alias, number)
        if before.rejects and old is None:
            # Several files of an earlier format become one.
            old, first = before.rejects[0], before.rejects[0]
        rejected = writing.replace(old, first, _about(rejects, mark))
        predictions = None
        if tables.predictions is not None:
            merged = _about(self._merged(before.predictions, tables.predictions), mark)
            predictions = writing.replace(before.predictions, layout.predictions(alias, number), merged)
        embeddings = {
            name: writing.replace(
                before.embeddings.get(name),
                layout.embeddings(name, number),
                _about(self._merged(before.embeddings.get(name), table), mark),
            )
            for name, table in tables.embeddings.items()
        }
        return PartFiles(number, before.listing, kept, predictions, (rejected,), embeddings)

    def _images(self, path: str, new: pa.Table) -> pa.Table:
        """Return the images including those of this run; unknown digests are taken from it."""
        rows = {row["id"]: row for row in with_columns(read_part(self.storage, path), schema.IMAGES.names).to_pylist()}
        for row in new.to_pylist():
            known = rows.setdefault(row["id"], row)
            known["sha256"] = known["sha256"] or row["sha256"]
        return pa.Table.from_pylist([rows[image_id] for image_id in sorted(rows)], schema.IMAGES)

    def _rejects(
        self, paths: Iterable[str], new: pa.Table, tried: np.ndarray[tuple[int], np.dtype[np.int64]], refused: pa.Table
    ) -> pa.Table:
        """Return the rejects without those that were retried, plus those of this run and of other models."""
        before = [with_columns(read_part(self.storage, path), schema.REJECTS.names) for path in paths]
        kept = [table.filter(pa.array(~np.isin(table.column("id").to_numpy(), tried))) for table in before]
        return _together([*kept, new, refused], new)

    def _merged(self, path: str | None, new: pa.Table) -> pa.Table:
        """Return the rows of a file, plus those of this run that it lacks, by ascending id."""
        if path is None:
            return new
        before = read_part(self.storage, path)
        ids = before.column("id").to_numpy()
        added = new.filter(pa.array(~np.isin(new.column("id").to_numpy(), ids)))
        if not len(added):
            return before
        order = np.argsort(np.concatenate([ids, added.column("id").to_numpy()]), kind="stable")
        metadata = dict(new.schema.metadata or {})
        arithmetics = [(one.schema.metadata or {}).get(schema.COMPUTE, b"").decode() for one in (before, new)]
        if any(arithmetics):
            parts = {word for one in arithmetics for word in one.split(" + ") if word}
            metadata[schema.COMPUTE] = " + ".join(sorted(parts)).encode()
        both = [table.replace_schema_metadata() for table in (before, added)]
        return pa.concat_tables(both).combine_chunks().take(pa.array(order)).replace_schema_metadata(metadata)

    def _record(self, todo: Todo, files: PartFiles) -> None:
        with self.storage.staged(self._record_path(todo)) as temporary:
            temporary.write_bytes(msgspec.json.encode(files))

    def _record_path(self, todo: Todo) -> str:
        return layout.revision_record(self.plan.alias, todo.files.number, todo.inputs)


@dataclass
class _Writing:
    """A part while its files are written."""

    storage: Storage
    draft: Manifest | None
    todo: Todo
    identity: str
    published: generations.PublishedFiles
    paths: list[str] = field(default_factory=list)

    def put(self, path: str, table: pa.Table) -> str:
        """Write a table under its own path, or a revised path if a generation refers to other bytes under its own."""
        named = self.draft.files.get(path) if self.draft else None
        if named is not None:
            return self._revised(path, table, repairs=named.sha256)
        # A removed model may be part of an earlier generation that is being read.
        if self.draft and self.storage.exists(path) and path in self.published:
            return self._revised(path, table)
        write_part(self.storage, path, table)
        self.paths.append(path)
        return path

    def replace(self, before: str | None, first: str, table: pa.Table) -> str:
        """Write a table that replaces a file, if its rows differ; return the path of the valid file."""
        if before is None:
            return self.put(first, table)
        if self._same(before, table):
            return before
        return self._revised(before, table)

    def _same(self, path: str, table: pa.Table) -> bool:
        found = read_part(self.storage, path)
        return set(found.column_names) == set(table.column_names) and found.equals(table)

    def _revised(self, path: str, table: pa.Table, repairs: str = "") -> str:
        # Include the generation, because the same images may have to be embedded again from other bytes.
        generation = self.draft.generation if self.draft else 0
        inputs = self.todo.inputs or digest_of(
            [listing_identity(self.storage, self.todo.files.listing), self.identity, generation]
        )
        revised = layout.revised(path, inputs)
        write_part(self.storage, revised, table)
        if repairs and self.storage.digest(revised) == repairs:
            # The same bytes that a generation refers to and that were missing.
            self.storage.rename(revised, path)
            revised = path
        self.paths.append(revised)
        return revised


def _together(tables: Iterable[pa.Table], like: pa.Table) -> pa.Table:
    """Return rejects by ascending id, with the metadata of `like`."""
    plain = [table.replace_schema_metadata().cast(schema.REJECTS) for table in tables]
    return pa.concat_tables(plain).sort_by("id").replace_schema_metadata(like.schema.metadata)


def _about(table: pa.Table, mark: str) -> pa.Table:
    return table.replace_schema_metadata({**(table.schema.metadata or {}), schema.ABOUT: mark.encode()})
