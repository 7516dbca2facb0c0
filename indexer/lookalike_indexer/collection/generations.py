"""Listing, reading and publishing of generations.

The newest generation is the manifest with the highest number. Publishing a generation creates that file in one atomic
step, and changes no other file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from lookalike_indexer.collection import consistency, encoding, layout
from lookalike_indexer.collection.manifest import FileEntry, Manifest
from lookalike_indexer.collection.parts import open_part
from lookalike_indexer.collection.schema import COMPUTE
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError, MismatchError, NotFoundError


def numbers(storage: Storage) -> list[int]:
    """Return the numbers of the published generations, ascending."""
    stems = [Path(name).stem for name in storage.list(layout.GENERATIONS) if name.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def read(storage: Storage, number: int) -> Manifest:
    """Return the manifest of a published generation.

    Raise NotFoundError if the generation does not exist. Raise DataLossError or MismatchError as encoding.decode and
    consistency.check do.
    """
    path = layout.generation(number)
    name = storage.shown(path)
    found = encoding.decode(storage.read(path), name, lambda part: _read_list(storage, part))
    if found.generation != number:
        raise DataLossError(f"{name} is the manifest of generation {found.generation}; it was renamed.")
    consistency.check(found, _named(found), name)
    return found


def _read_list(storage: Storage, path: str) -> bytes:
    try:
        return storage.read(path)
    except NotFoundError as error:
        raise DataLossError(str(error)) from error


def latest(storage: Storage) -> Manifest | None:
    """Return the newest generation's manifest, or None if none was published."""
    published = numbers(storage)
    return read(storage, published[-1]) if published else None


def require_latest(storage: Storage) -> Manifest:
    """Return the newest generation's manifest; NotFoundError if none was published."""
    found = latest(storage)
    if found is None:
        raise NotFoundError(
            f"{storage.location} holds no collection; make one with: "
            f"lookalike index SOURCE --collection {storage.location}"
        )
    return found


class PublishedFiles:
    """The files that any published generation refers to. The first lookup reads all manifests."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._named: set[str] | None = None
        self._is_complete = True

    def __contains__(self, path: object) -> bool:
        """Return whether a generation refers to this file; True for every file if a manifest cannot be read."""
        if self._named is None:
            self._named = set()
            for number in numbers(self._storage):
                try:
                    self._named.update(read(self._storage, number).files)
                except (DataLossError, MismatchError):
                    self._is_complete = False
        return not self._is_complete or path in self._named


def complete(storage: Storage, draft: Manifest, written: Collection[str] = ()) -> Manifest:
    """Return the draft with `files` listing exactly the files that it refers to.

    Files that were not listed before, and those that this run has `written`, are measured.
    """
    files = {
        path: measure(storage, path) if path in written or path not in draft.files else draft.files[path]
        for path in sorted(_named(draft))
    }
    return dataclasses.replace(draft, files=files)


def publish(storage: Storage, draft: Manifest) -> Manifest:
    """Publish a draft as the next generation; return the newest one if nothing changed."""
    before = latest(storage)
    number = before.generation if before else 0
    finished = dataclasses.replace(complete(storage, draft), generation=number)
    if finished == before:
        storage.clear(layout.WORK)
        return before
    finished = dataclasses.replace(finished, generation=number + 1, format=finished.needed_format)
    path = layout.generation(number + 1)
    encoded = encoding.encode(finished)
    for name, data in encoded.lists.items():
        if not storage.exists(name):
            with storage.staged(name) as temporary:
                temporary.write_bytes(data)
    storage.settle([*finished.files, *encoded.lists])
    storage.publish(path, encoded.manifest)
    storage.settle([path])
    storage.clear(layout.WORK)
    return finished


def measure(storage: Storage, path: str) -> FileEntry:
    """Return a file's length, digest, number of rows (for Parquet), and the arithmetic in its metadata."""
    rows, compute = None, ""
    if path.endswith(".parquet"):
        with open_part(storage, path) as part:
            rows = part.metadata.num_rows
            compute = (part.schema_arrow.metadata or {}).get(COMPUTE, b"").decode()
    return FileEntry(storage.size(path), storage.digest(path), rows, compute)


def _named(draft: Manifest) -> set[str]:
    paths = {*draft.listing, *draft.images, *draft.tombstones}
    for model in draft.models.values():
        paths.update(model.predictions, model.rejects, model.files)
    for space in draft.spaces.values():
        paths.update(space.parts)
    for clustering in draft.clusterings.values():
        paths.update(clustering.assignments, clustering.parts, clustering.files)
    for index in draft.indexes.values():
        paths.update(index.parts, index.files)
    for result in draft.results.values():
        paths.update(result.tables.values())
    for attributes in draft.attributes.values():
        paths.update(attributes.parts)
    for graph in draft.graphs.values():
        paths.update(graph.neighbors, graph.parts)
    return paths
