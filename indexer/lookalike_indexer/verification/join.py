"""Whether the tables join: part N of each is about the same images as part N of the listing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.reader import Int64
from lookalike_indexer.verification.examination import Examination

_SHARED = ["id", "key", "label", "uri"]
Parts = dict[int, list[str]]


def check_join(examination: Examination) -> None:
    """Compare the ids of each part in all tables, one part at a time."""
    manifest = examination.reader.manifest
    listing, images = _by_number(manifest.listing), _by_number(manifest.images)
    others = _others(manifest)
    last = -1
    left_out = 0
    with examination.progress.stage("join", len(listing), "part") as bar:
        for number in sorted(listing):
            paths = [*listing[number], *images.get(number, [])]
            paths += [path for parts in others for path in parts.get(number, [])]
            if examination.intact(paths):
                last = _Part(examination, number, listing[number][0], last).check(images.get(number, []), manifest)
            else:
                left_out += 1
            bar.advance()
    note = f"{left_out} parts have damaged files and were left out" if left_out else ""
    examination.checked("join", len(listing) - left_out, "parts", note)


class _Part:
    """One part of every table."""

    def __init__(self, examination: Examination, number: int, listing: str, last: int) -> None:
        self._examination = examination
        self._storage = examination.reader.storage
        self._number = number
        self._table = read_part(self._storage, listing, _SHARED)
        self._ids: Int64 = self._table.column("id").to_numpy()
        if not _ascending(self._ids) or (len(self._ids) and self._ids[0] <= last):
            examination.damaged(listing, "has ids that do not ascend")

    def check(self, images: list[str], manifest: Manifest) -> int:
        """Compare the part of every table; returns the largest id of the listing's."""
        kept = self._images(images)
        rejected = {name: self._rejects(model.rejects) for name, model in manifest.models.items()}
        somewhere = np.concatenate([kept, *rejected.values()])
        if manifest.models and any(model.rejects for model in manifest.models.values()):
            self._require(images, np.isin(self._ids, somewhere).all(), "lacks images that no rejects table has either")
        for model, entry in manifest.models.items():
            for path in self._mine(entry.predictions):
                self._subset(path, kept)
            for space in manifest.spaces.values():
                if space.model == model:
                    self._space(manifest, self._mine(space.parts), kept, rejected[model] if entry.rejects else None)
        for clustering in manifest.clusterings.values():
            parts = self._mine(manifest.parts_of(clustering))
            for path, part in zip(self._mine(clustering.assignments), parts, strict=False):
                self._require([path], np.array_equal(self._id(path), self._id(part)), f"has other ids than {part}")
        return int(self._ids[-1]) if len(self._ids) else -1

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
        found = [np.empty(0, np.int64), *(self._id(path) for path in self._mine(paths))]
        for path in self._mine(paths):
            self._subset(path, self._ids)
        return np.concatenate(found)

    def _space(self, manifest: Manifest, paths: list[str], kept: Int64, rejected: Int64 | None) -> None:
        for path in paths:
            if self._subset(path, kept) and rejected is not None:
                there = np.concatenate([self._id(path), rejected])
                self._require([path], np.isin(kept, there).all(), "lacks images that its model did not reject")

    def _subset(self, path: str, of: Int64) -> bool:
        ids = self._id(path)
        fits = _ascending(ids) and bool(np.isin(ids, of).all())
        return self._require([path], fits, "has ids that do not ascend, or that its images do not have")

    def _require(self, paths: list[str], fits: object, what: str) -> bool:
        if not fits and paths:
            self._examination.damaged(paths[0], what)
        return bool(fits)

    def _mine(self, paths: Iterable[str]) -> list[str]:
        return [path for path in paths if layout.part_number(path) == self._number]

    def _id(self, path: str) -> Int64:
        ids: Int64 = read_part(self._storage, path, ["id"]).column("id").to_numpy()
        return ids


def _others(manifest: Manifest) -> list[Parts]:
    tables = [paths for model in manifest.models.values() for paths in (model.predictions, model.rejects)]
    tables += [space.parts for space in manifest.spaces.values()]
    tables += [clustering.assignments for clustering in manifest.clusterings.values()]
    return [_by_number(paths) for paths in tables]


def _by_number(paths: list[str]) -> Parts:
    found: Parts = {}
    for path in paths:
        found.setdefault(layout.part_number(path), []).append(path)
    return found


def _ascending(ids: Int64) -> bool:
    return bool((np.diff(ids) > 0).all())
