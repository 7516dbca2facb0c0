"""Inventory of a model's parts: their existing files, and the rows that still have to be embedded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import layout, schema, uploaded_images
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import open_part, read_part
from lookalike_indexer.collection.rejects import FINAL, kind_of
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import contains

if TYPE_CHECKING:
    # part_store imports torch, which the server's own process must not: it folds changes with this module.
    from lookalike_indexer.embedding.plan import ModelPlan


@dataclass(frozen=True)
class PartFiles:
    """The existing files of one part, for one model; missing ones are None or have no entry."""

    number: int
    listing: str
    images: str | None
    predictions: str | None
    rejects: tuple[str, ...]
    embeddings: dict[str, str]


@dataclass(frozen=True)
class Todo:
    """The work on a part: rows of its listing to embed, with the digest of those that are images already.

    `inputs` is the digest of everything that determines the result except the images themselves. `refused` are the
    rejects of other models that apply to this one too, but are not recorded for it yet.
    """

    files: PartFiles
    rows: pa.Table
    inputs: str
    refused: pa.Table


@dataclass
class Inventory:
    """The files of one model in a collection, by part number.

    `listing` is the present listing, and `deleted` are the ids of its unwanted rows, ascending. A file that the draft
    lists but that is missing, or has another length, counts as absent.
    """

    storage: Storage
    draft: Manifest | None
    plan: ModelPlan
    listing: list[str]
    deleted: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    _sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draft, alias = self.draft, self.plan.alias
        model = draft.models.get(alias) if draft else None
        spaces = draft.spaces if draft else {}
        self._images = self._complete_parts(draft.images if draft else [])
        self._predictions = self._complete_parts(model.predictions if model else [])
        self._rejects = self._complete_parts(model.rejects if model else [])
        self._embeddings = {
            space.name: self._complete_parts(spaces[space.name].parts if space.name in spaces else [])
            for space in self.plan.spaces
        }
        others = [entry.rejects for name, entry in draft.models.items() if name != alias] if draft else []
        self._others = self._complete_parts([path for paths in others for path in paths])

    def files(self, listing: str) -> PartFiles:
        """Return the files of the part with this listing."""
        number = layout.part_number(listing)
        images = _only(self._images.get(number)) or self.leftover_images(listing)
        if images is None:
            return PartFiles(number, listing, None, None, (), {})
        about = None if number in self._images and self._complete(number) else self.about(images)
        predictions = _only(self._predictions.get(number)) or self._leftover(
            layout.predictions(self.plan.alias, number), self.plan.identity, about
        )
        rejects = self._rejects.get(number) or [
            path
            for path in [layout.rejects(self.plan.alias, number)]
            if self._leftover(path, self.plan.identity, about) is not None
        ]
        embeddings = {}
        for space in self.plan.spaces:
            path = _only(self._embeddings[space.name].get(number)) or self._leftover(
                layout.embeddings(space.name, number), space.fingerprint, about, space.dtype
            )
            if path:
                embeddings[space.name] = path
        return PartFiles(number, listing, images, predictions, tuple(rejects), embeddings)

    def todo(self, files: PartFiles) -> Todo | None:
        """Return what remains to be embedded of a part, None if it is complete."""
        listed, images = self._rows(files.listing), self._rows(files.images) if files.images else 0
        tables = [files.embeddings.get(space.name) for space in self.plan.spaces]
        if self.plan.spec.classifies:
            tables.append(files.predictions)
        every = all(path is not None and self._rows(path) == images for path in tables)
        whole = files.images is not None and every and len(files.rejects) > 0
        if whole and (images == listed or self._is_settled(files, listed - images)):
            return None
        rows = read_part(self.storage, files.listing, ["id", "key", "label", "uri", "bytes", "modified_ns"])
        ids: Int64 = rows.column("id").to_numpy()
        known = self._known(files)
        done = known.column("id").to_numpy() if whole else self._done(tables)
        final, refused = self._final(files, rows)
        wanted = ~np.isin(ids, done) & ~np.isin(ids, final) & ~contains(self.deleted, ids)
        # An image that was added while the collection was served has a file only if the collection stores that file.
        has_file = rows.column("modified_ns").to_numpy() != schema.NOT_OF_SOURCE
        has_file = has_file | uploaded_images.is_uploaded_column(rows.column("uri")).to_numpy()
        wanted &= has_file
        made = files.images is not None and len(files.rejects) > 0 and all(path is not None for path in tables)
        if (whole or (made and not has_file.all())) and not wanted.any() and not len(refused):
            return None
        chosen = rows.filter(pa.array(wanted))
        at = pc.index_in(chosen.column("id"), known.column("id"))
        chosen = chosen.append_column("sha256", known.column("sha256").take(at.combine_chunks()))
        if not files.images:
            return Todo(files, chosen, "", refused)
        spaces = [[space.name, space.fingerprint, space.dtype] for space in self.plan.spaces]
        paths = [files.images, files.predictions, list(files.rejects), files.embeddings]
        taken = [table.column("id").to_pylist() for table in (chosen, refused)]
        return Todo(files, chosen, digest_of([self.plan.identity, spaces, paths, *taken]), refused)

    def about(self, images: str) -> str:
        """Return the digest of the images that a part covers, whatever their labels."""
        return about(read_part(self.storage, images, ["id", "sha256"]))

    def leftover_images(self, listing: str) -> str | None:
        """Return the images part that a killed run left, if it covers this part of the listing."""
        path = layout.images(layout.part_number(listing))
        if not self.storage.exists(path) or self._is_named(path):
            return None
        found = self._metadata(path).get(schema.ABOUT, b"").decode()
        return path if found == listing_identity(self.storage, listing) else None

    def _is_settled(self, files: PartFiles, lacking: int) -> bool:
        """Return whether all images that a part lacks were finally rejected when a run last saw the same listing."""
        if self.draft is None or files.listing not in self.draft.files:
            return False
        if len(self.deleted) and files.images:
            lacked = np.setdiff1d(self._ids(files.listing), self._ids(files.images))
            lacking = int(np.count_nonzero(~contains(self.deleted, lacked)))
        found: set[int] = set()
        for path in files.rejects:
            if path not in self.draft.files:
                return False
            table = read_part(self.storage, path, ["id", "kind"])
            found.update(table.filter(pc.equal(table.column("kind"), FINAL)).column("id").to_pylist())
        return int(np.count_nonzero(~contains(self.deleted, np.array(sorted(found), np.int64)))) == lacking

    def is_there(self, path: str) -> bool:
        """Return whether a file of the draft exists with the recorded length."""
        return self.draft is not None and self._size(path) == self.draft.files[path].bytes

    def _known(self, files: PartFiles) -> pa.Table:
        """Return the ids and digests of the part's images."""
        if files.images is None:
            return pa.table({"id": pa.array([], pa.int64()), "sha256": pa.array([], pa.string())})
        return read_part(self.storage, files.images, ["id", "sha256"])

    def _done(self, tables: Iterable[str | None]) -> Int64:
        """Return the ids that all of the tables have."""
        found: Int64 | None = None
        for path in tables:
            ids = self._ids(path) if path else np.empty(0, np.int64)
            found = ids if found is None else np.intersect1d(found, ids)
        return np.empty(0, np.int64) if found is None else found

    def _final(self, files: PartFiles, rows: pa.Table) -> tuple[Int64, pa.Table]:
        """Return the ids that were finally rejected: for this model, or for any if no model could read them.

        Also return the rejects among them that only other models have.
        """
        listed = {row["id"]: (row["bytes"], row["modified_ns"]) for row in rows.to_pylist()}
        images = set(self._ids(files.images).tolist()) if files.images else set()
        own_ids: set[int] = set()
        refused: dict[int, dict[str, Any]] = {}
        final = set()
        others = self._others.get(files.number, [])
        for path, own in [*((path, True) for path in files.rejects), *((path, False) for path in others)]:
            for row in read_part(self.storage, path, schema.REJECTS.names).to_pylist():
                if own:
                    own_ids.add(row["id"])
                elif row["id"] in images:
                    continue
                kind = kind_of(row["kind"], row["reason"])
                same = row["bytes"] is None or (row["bytes"], row["modified_ns"]) == listed.get(row["id"])
                if kind == FINAL and same:
                    final.add(row["id"])
                    if not own and row["id"] not in own_ids:
                        refused[row["id"]] = {**row, "kind": kind}
        table = pa.Table.from_pylist([refused[image_id] for image_id in sorted(refused)], schema.REJECTS)
        return np.array(sorted(final), np.int64), table

    def _ids(self, path: str) -> Int64:
        ids: Int64 = read_part(self.storage, path, ["id"]).column("id").to_numpy()
        return ids

    def _rows(self, path: str) -> int:
        entry = self.draft.files.get(path) if self.draft else None
        if entry is not None and entry.rows is not None:
            return entry.rows
        with open_part(self.storage, path) as part:
            rows: int = part.metadata.num_rows
            return rows

    def _complete(self, number: int) -> bool:
        """Return whether the draft has every file of a part, so that no other files need to be searched."""
        tables = [self._rejects, *self._embeddings.values()]
        if self.plan.spec.classifies:
            tables.append(self._predictions)
        return all(number in table for table in tables)

    def _complete_parts(self, paths: Iterable[str]) -> dict[int, list[str]]:
        """Return the draft's paths by part, without those that are missing or have another length."""
        found: dict[int, list[str]] = {}
        for path in paths:
            if self.is_there(path):
                found.setdefault(layout.part_number(path), []).append(path)
        return found

    def _size(self, path: str) -> int | None:
        folder, name = path.rsplit("/", 1)
        if folder not in self._sizes:
            self._sizes[folder] = self.storage.sizes(folder)
        return self._sizes[folder].get(name)

    def _leftover(self, path: str, fingerprint: str, about: str | None, dtype: str = "") -> str | None:
        """Return a file that a killed run left, if the same model made it from these images."""
        if about is None or self._is_named(path) or not self.storage.exists(path):
            return None
        with open_part(self.storage, path) as part:
            columns = part.schema_arrow
        metadata = columns.metadata or {}
        if metadata.get(schema.FINGERPRINT, b"").decode() != fingerprint:
            return None
        if metadata.get(schema.ABOUT, b"").decode() != about:
            return None
        stored = {"float16": pa.float16(), "float32": pa.float32()}.get(dtype)
        return path if stored is None or columns.field("embedding").type.value_type == stored else None

    def _is_named(self, path: str) -> bool:
        return self.draft is not None and path in self.draft.files

    def _metadata(self, path: str) -> Mapping[bytes, bytes]:
        with open_part(self.storage, path) as part:
            return part.schema_arrow.metadata or {}


def about(images: pa.Table) -> str:
    """Return the digest of the images that a part covers: their ids and bytes, whatever their labels."""
    return digest_of([images.column("id").to_pylist(), images.column("sha256").to_pylist()])


def listing_identity(storage: Storage, listing: str) -> str:
    """Return the digest of the images in a part of the listing, whatever their labels."""
    with open_part(storage, listing) as part:
        source = (part.schema_arrow.metadata or {}).get(b"lookalike.source", b"").decode()
    table = read_part(storage, listing, ["id", "key"])
    return digest_of([source, table.column("id").to_pylist(), table.column("key").to_pylist()])


def _only(paths: list[str] | None) -> str | None:
    return paths[0] if paths else None
