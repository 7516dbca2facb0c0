"""Garbage collection: removes files that no kept generation refers to.

Only files whose paths have the form of a collection's own are ever removed. The order of removal leaves a valid
collection if the process is killed at any moment. Manifests go first, oldest first, so that none refers to a missing
file. Then results go before their inputs, and the listing goes backwards, so that no leftover can be mistaken for a
part of a later listing.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from lookalike_indexer.collection import changelog, encoding, generations, layout, uploaded_images
from lookalike_indexer.collection.current import default_index
from lookalike_indexer.collection.hold import claimed
from lookalike_indexer.collection.lock import LOCK, OWNER
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DataLossError, MismatchError

_NAME = r"[A-Za-z0-9][A-Za-z0-9._@+-]*"
_PART = r"part-\d{6,}(?:\.[0-9a-f]{16})?\.parquet"
_DIGEST = r"[0-9a-f]{16}"
# In the order of removal.
_OWN = [
    re.compile(pattern)
    for pattern in (
        rf"work/{_NAME}/part-\d{{6,}}\.{_DIGEST}\.json",
        rf"results/{_NAME}/{_NAME}/{_DIGEST}/{_NAME}\.parquet",
        rf"indexes/{_NAME}/{_DIGEST}\.(?:json|choice\.json|faiss|ids\.parquet|increment\.npz)",
        rf"attributes/{_NAME}/{_DIGEST}/{_PART}",
        rf"graphs/{_NAME}/{_DIGEST}/{_PART}",
        rf"clusterings/{_NAME}/{_NAME}/{_DIGEST}/assignments/{_PART}",
        rf"clusterings/{_NAME}/{_NAME}/{_DIGEST}/(?:centroids|whitening)\.parquet",
        rf"embeddings/{_NAME}/{_PART}",
        rf"predictions/{_NAME}/{_PART}",
        rf"images/{_PART}",
        uploaded_images.PATTERN,
        rf"rejects/{_NAME}/{_PART}",
        rf"models/{_NAME}/{_NAME}",
        rf"source/{_PART}",
        r"tombstones/[0-9a-f]{32}\.parquet",
        r"lists/[0-9a-f]{32}\.json",
        r"live/\d{6,}-\d{4,}\.wal",
    )
]
_MANIFEST = re.compile(r"generations/\d{6,}\.json")


@dataclass(frozen=True)
class GarbageReport:
    """The result of a garbage collection, or of a dry run.

    `kept` and `removed` are generation numbers. Of those kept, `in_use` are kept only because a reader holds them,
    `in_doubt` because the file system cannot tell whether a reader does, and `servable`, if any, because no newer one
    has an index of its default space. `files` are the removed paths, including manifests; `bytes` is their total size.
    `foreign` are files that do not belong to the collection; they stay.
    """

    kept: list[int]
    removed: list[int]
    in_use: list[int]
    in_doubt: list[int]
    servable: int | None
    files: list[str]
    bytes: int
    foreign: list[str]


def collect(storage: Storage, keep: int, *, dry_run: bool = False, assume_unread: bool = False) -> GarbageReport:
    """Keep the newest generations and those in use; remove the files that only other generations refer to.

    If none of the newest can be searched, the last one that can be is kept as well. If the file system cannot tell
    whether a generation is in use, it is kept unless `assume_unread` is set.

    The caller holds the collection's lock. Unfinished work of a killed run is removed as well, because no generation
    refers to it. Raise NotFoundError if the collection does not exist. Raise DataLossError or MismatchError if a kept
    manifest cannot be read; then no file that it may refer to is removed.
    """
    generations.require_latest(storage)
    numbers = generations.numbers(storage)
    kept, old = numbers[-keep:], numbers[:-keep]
    # Read all of them even if the first can be searched: a damaged kept manifest must stop the collection.
    searchable = [_is_servable(storage, number) for number in kept]
    servable = None if any(searchable) else _last_servable(storage, old)
    if servable is not None:
        old.remove(servable)
        kept = [servable, *kept]
    in_use: list[int] = []
    in_doubt: list[int] = []
    removed: list[str] = []
    size = 0
    for number in old:
        path = layout.generation(number)
        with claimed(storage, number) as free:
            if free or (free is None and assume_unread):
                size += storage.size(path)
                removed.append(path)
                if not dry_run:
                    storage.remove(path)
            else:
                (in_doubt if free is None else in_use).append(number)
    if not dry_run and removed:
        storage.settle([layout.generation(numbers[-1])])
    named: set[str] = set()
    for number in [*in_use, *in_doubt, *kept]:
        named |= _needed(storage, number)
    folded = _removable_log(storage, [*in_use, *in_doubt, *kept], dry_run=dry_run)
    # An image is stored before anything refers to it.
    with uploaded_images.removing(storage):
        named |= _pictures(storage, named, folded)
        unnamed, foreign = _unnamed(storage, named, folded)
        for path in unnamed:
            size += storage.size(path)
            if not dry_run:
                storage.remove(path)
    return GarbageReport(
        kept=sorted([*in_use, *in_doubt, *kept]),
        removed=[int(PurePosixPath(path).stem) for path in removed],
        in_use=in_use,
        in_doubt=in_doubt,
        servable=servable,
        files=[*removed, *unnamed],
        bytes=size,
        foreign=foreign,
    )


def _is_servable(storage: Storage, number: int) -> bool:
    """Return whether a generation can be searched: its default space has an index."""
    manifest = generations.read(storage, number)
    return default_index(manifest, manifest.default_space) is not None


def _last_servable(storage: Storage, numbers: list[int]) -> int | None:
    for number in reversed(numbers):
        # An old generation that cannot be read cannot be served either.
        with contextlib.suppress(DataLossError, MismatchError):
            if _is_servable(storage, number):
                return number
    return None


def _needed(storage: Storage, number: int) -> set[str]:
    """Return the files of a generation, and the records beside its indexes that save rebuilding them."""
    manifest = generations.read(storage, number)
    beside = {layout.index_record(index.path) for index in manifest.indexes.values()}
    beside |= {layout.choice(index.space, index.choice) for index in manifest.indexes.values() if index.choice}
    return {*manifest.files, *beside, *encoding.encode(manifest).lists}


def _removable_log(storage: Storage, numbers: list[int], *, dry_run: bool) -> set[str]:
    """Return the segments of the change log whose changes are part of all kept generations."""
    if not changelog.names(storage):
        return set()
    folded = min((generations.read(storage, number).folded_through for number in numbers), default=0)
    if not dry_run:
        changelog.renew(storage, folded)
    return set(changelog.removable(storage, folded))


def _pictures(storage: Storage, named: set[str], folded: set[str]) -> set[str]:
    """Return the uploaded images that the named files or the change log refer to."""
    if not any(path.startswith(f"{uploaded_images.FOLDER}/") for path in storage.walk()):
        return set()
    images = [path for path in sorted(named) if path.startswith(f"{layout.IMAGES}/")]
    log = [name.path for name in changelog.names(storage) if name.path not in folded]
    return uploaded_images.named_by(storage, images) | uploaded_images.named_by_log(storage, log)


def _unnamed(storage: Storage, named: set[str], folded: set[str]) -> tuple[list[str], list[str]]:
    """Return unreferenced files in the order of removal, and foreign files.

    Of the change log only the `folded` segments are returned: a server may just have created another one.
    """
    own: list[tuple[int, str]] = []
    foreign = []
    for path in storage.walk():
        if path in named or path in (LOCK, OWNER) or _MANIFEST.fullmatch(path):
            continue
        if path.startswith(f"{changelog.FOLDER}/") and path not in folded:
            continue
        rank = next((rank for rank, pattern in enumerate(_OWN) if pattern.fullmatch(path)), None)
        if rank is None:
            foreign.append(path)
        else:
            own.append((rank, path))
    # Within one rank the last part goes first.
    own.sort(key=lambda one: one[1], reverse=True)
    own.sort(key=lambda one: one[0])
    return [path for _, path in own], sorted(foreign)
