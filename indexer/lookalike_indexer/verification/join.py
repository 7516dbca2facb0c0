"""Check that the tables join: part N of each covers the same images as part N of the listing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import layout
from lookalike_indexer.collection.index_ids import difference
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.spec import IMPORTED
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import deleted_ids
from lookalike_indexer.verification.examination import Examination

_SHARED = ["id", "key", "label", "uri"]
Parts = dict[int, list[str]]


def check_join(examination: Examination) -> None:
    """Compare the ids of each part in all tables, one part at a time."""
    manifest, storage = examination.reader.manifest, examination.reader.storage
    # Other tables may or may not contain deleted images.
    deleted = deleted_ids(storage, manifest) if examination.intact(manifest.tombstones) else np.empty(0, np.int64)
    tables = _Tables.of(manifest, deleted)
    last = -1
    left_out = 0
    with examination.progress.stage("join", len(tables.listing), "part") as bar:
        for number in tables.listing:
            if examination.intact(tables.paths(number)):
                last = _Part(examination, tables, number, last).check()
            else:
                left_out += 1
            bar.advance()
    _check_derived(examination)
    note = f"{left_out} parts have damaged files and were left out" if left_out else ""
    examination.checked("join", len(tables.listing) - left_out, "parts", note)


@dataclass(frozen=True)
class _Model:
    """The parts of one model, by number.

    `rejected` is whether the model has a rejects table. `imported` means that its vectors were imported, and need not
    cover every image.
    """

    predictions: Parts
    rejects: Parts
    spaces: list[Parts]
    rejected: bool
    imported: bool


@dataclass(frozen=True)
class _Tables:
    """The parts of every table, by number: each list of the manifest is traversed once."""

    listing: Parts
    images: Parts
    models: list[_Model]
    attributes: list[Parts]
    deleted: Int64

    @classmethod
    def of(cls, manifest: Manifest, deleted: Int64) -> _Tables:
        models = [
            _Model(
                _by_number(entry.predictions),
                _by_number(entry.rejects),
                [_by_number(space.parts) for space in manifest.spaces.values() if space.model == name],
                bool(entry.rejects),
                entry.spec.arch == IMPORTED,
            )
            for name, entry in manifest.models.items()
        ]
        attributes = [_by_number(entry.parts) for entry in manifest.attributes.values()]
        return cls(_by_number(manifest.listing), _by_number(manifest.images), models, attributes, deleted)

    def paths(self, number: int) -> Iterator[str]:
        """Yield the paths of a part in all tables."""
        tables = [self.listing, self.images, *self.attributes]
        for model in self.models:
            tables += [model.predictions, model.rejects, *model.spaces]
        for table in tables:
            yield from table.get(number, [])


class _Part:
    """One part of every table."""

    def __init__(self, examination: Examination, tables: _Tables, number: int, last: int) -> None:
        self._examination, self._tables, self._number = examination, tables, number
        self._storage = examination.reader.storage
        listing = tables.listing[number][0]
        self._table = read_part(self._storage, listing, _SHARED)
        self._ids: Int64 = self._table.column("id").to_numpy()
        if not _ascending(self._ids) or (len(self._ids) and self._ids[0] <= last):
            examination.damaged(listing, "has ids that do not ascend")

    def check(self) -> int:
        """Compare the part of every table; return the largest id in the listing's part."""
        images, models = self._of(self._tables.images), self._tables.models
        kept = self._images(images)
        for attributes in self._tables.attributes:
            for path in self._of(attributes):
                self._subset(path, kept)
        rejected = [self._rejects(self._of(model.rejects)) for model in models]
        if any(model.rejected for model in models):
            there = np.isin(self._ids, np.concatenate([kept, *rejected, self._tables.deleted]))
            self._require(images, there.all(), "lacks images that no rejects table has either")
        for model, refused in zip(models, rejected, strict=True):
            for path in self._of(model.predictions):
                self._subset(path, kept)
            for space in model.spaces:
                self._space(self._of(space), kept, refused if model.rejected and not model.imported else None)
        return int(self._ids[-1]) if len(self._ids) else -1

    @property
    def _without_picture(self) -> Int64:
        """The ids of images without a readable file."""
        found: Int64 = self._ids[pc.equal(self._table.column("uri"), "").to_numpy()]
        return found

    def _of(self, table: Parts) -> list[str]:
        return table.get(self._number, [])

    def _images(self, paths: list[str]) -> Int64:
        kept = [np.empty(0, np.int64)]
        for path in paths:
            table = read_part(self._storage, path, _SHARED)
            ids: Int64 = table.column("id").to_numpy()
            if self._subset(path, self._ids):
                listed = self._table.take(np.searchsorted(self._ids, ids))
                self._require([path], table.equals(listed), "has other keys, labels or URIs than the listing")
            kept.append(ids)
        return np.concatenate(kept)

    def _rejects(self, paths: list[str]) -> Int64:
        for path in paths:
            self._subset(path, self._ids)
        return np.concatenate([np.empty(0, np.int64), *(_ids(self._storage, path) for path in paths)])

    def _space(self, paths: list[str], kept: Int64, rejected: Int64 | None) -> None:
        for path in paths:
            if self._subset(path, kept) and rejected is not None:
                # A model that was added after an image was deleted, or after its vector was imported, has not seen it.
                there = np.concatenate(
                    [_ids(self._storage, path), rejected, self._tables.deleted, self._without_picture]
                )
                self._require([path], np.isin(kept, there).all(), "lacks images that its model did not reject")

    def _subset(self, path: str, of: Int64) -> bool:
        ids = _ids(self._storage, path)
        fits = _ascending(ids) and bool(np.isin(ids, of).all())
        return self._require([path], fits, "has ids that do not ascend, or that its images do not have")

    def _require(self, paths: list[str], fits: object, what: str) -> bool:
        if not fits and paths:
            self._examination.damaged(paths[0], what)
        return bool(fits)


def _check_derived(examination: Examination) -> None:
    """Compare the ids of each part of a clustering or graph with those of its embeddings."""
    manifest, storage = examination.reader.manifest, examination.reader.storage
    made = [(entry.assignments, manifest.parts_of(entry)) for entry in manifest.clusterings.values()]
    made += [(entry.neighbors, entry.parts) for entry in manifest.graphs.values()]
    for paths, parts in made:
        for path, part in zip(paths, parts, strict=False):
            if examination.intact([path, part]) and not np.array_equal(_ids(storage, path), _ids(storage, part)):
                examination.damaged(path, f"has other ids than {part}")
    _check_index_ids(examination)


def _check_index_ids(examination: Examination) -> None:
    manifest, storage = examination.reader.manifest, examination.reader.storage
    for entry in manifest.indexes.values():
        if entry.ids and examination.intact([entry.ids, *manifest.parts_of(entry)]):
            what = difference(storage, manifest, entry)
            if what:
                examination.damaged(entry.ids, what)


def _ids(storage: Storage, path: str) -> Int64:
    ids: Int64 = read_part(storage, path, ["id"]).column("id").to_numpy()
    return ids


def _by_number(paths: list[str]) -> Parts:
    """Return the paths of each part, in the order of the table."""
    found: Parts = {}
    for path in paths:
        found.setdefault(layout.part_number(path), []).append(path)
    return found


def _ascending(ids: Int64) -> bool:
    return bool((np.diff(ids) > 0).all())
