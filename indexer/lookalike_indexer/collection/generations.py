"""Finding, reading and publishing generations.

The newest generation is the manifest with the highest number: publishing one
is the single step of creating that file, and nothing else ever changes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lookalike_indexer.collection import consistency, layout, manifest
from lookalike_indexer.collection.manifest import FileEntry, Manifest
from lookalike_indexer.collection.parts import open_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError, NotFoundError


def numbers(storage: Storage) -> list[int]:
    """The numbers of the published generations, ascending."""
    stems = [Path(name).stem for name in storage.list(layout.GENERATIONS) if name.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def read(storage: Storage, number: int) -> Manifest:
    """A published generation's manifest.

    NotFoundError: there is none of that number. DataLossError,
    MismatchError: see manifest.decode and consistency.check.
    """
    path = layout.generation(number)
    name = str(storage.local(path))
    found = manifest.decode(storage.read(path), name)
    if found.generation != number:
        raise DataLossError(f"{name} is the manifest of generation {found.generation}; it was renamed.")
    consistency.check(found, _named(found), name)
    return found


def latest(storage: Storage) -> Manifest | None:
    """The newest generation's manifest, or None before the first."""
    published = numbers(storage)
    return read(storage, published[-1]) if published else None


def require_latest(storage: Storage) -> Manifest:
    """The newest generation's manifest; NotFoundError when nothing was published there."""
    found = latest(storage)
    if found is None:
        raise NotFoundError(
            f"{storage.root} holds no collection; make one with: lookalike index PHOTOS --collection {storage.root}"
        )
    return found


def complete(storage: Storage, draft: Manifest) -> Manifest:
    """The draft with `files` listing just the files that it names; those not listed before are measured."""
    files = {path: draft.files.get(path) or measure(storage, path) for path in sorted(_named(draft))}
    return dataclasses.replace(draft, files=files)


def publish(storage: Storage, draft: Manifest) -> Manifest:
    """Publish a draft as the next generation, or return the newest one when nothing changed."""
    before = latest(storage)
    number = before.generation if before else 0
    finished = dataclasses.replace(complete(storage, draft), generation=number)
    if finished == before:
        return before
    finished = dataclasses.replace(finished, generation=number + 1)
    path = layout.generation(number + 1)
    storage.settle(finished.files)
    storage.publish(path, manifest.encode(finished))
    storage.settle([path])
    return finished


def measure(storage: Storage, path: str) -> FileEntry:
    """A file's length, digest and (for Parquet) rows."""
    rows = None
    if path.endswith(".parquet"):
        with open_part(storage, path) as part:
            rows = part.metadata.num_rows
    return FileEntry(storage.size(path), storage.digest(path), rows)


def _named(draft: Manifest) -> set[str]:
    paths = {*draft.listing, *draft.images}
    for model in draft.models.values():
        paths.update(model.predictions, model.rejects, model.files)
    for space in draft.spaces.values():
        paths.update(space.parts)
    for clustering in draft.clusterings.values():
        paths.update(clustering.assignments, clustering.parts, [clustering.centroids])
    for index in draft.indexes.values():
        paths.update(index.parts, [index.path])
    for result in draft.results.values():
        paths.update(result.tables.values())
    return paths
