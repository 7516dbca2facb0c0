"""Deletion of images: publishes a generation with more tombstones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import generations, tombstones
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import Reason


@dataclass(frozen=True)
class Deleted:
    """The result of a deletion: ascending `ids`, the count of `unknown` keys and ids, and the new generation."""

    ids: list[int]
    unknown: int
    generation: int


def delete(storage: Storage, keys: Sequence[str] = (), ids: Sequence[int] = (), reason: Reason = "deleted") -> Deleted:
    """Delete images by key or id and publish the result; publish nothing if none of them exists.

    A key means its newest image. Unknown keys and ids are counted, and are not an error. Raise CollectionLockedError if
    another process writes to the collection. Raise NotFoundError if the collection does not exist.
    """
    generations.require_latest(storage)
    with writing(storage):
        draft, done = without_images(storage, generations.require_latest(storage), keys, ids, reason)
        return dataclasses.replace(done, generation=generations.publish(storage, draft).generation)


def without_images(
    storage: Storage,
    draft: Manifest,
    keys: Sequence[str] = (),
    ids: Sequence[int] = (),
    reason: Reason = "deleted",
    sequence: int = 0,
) -> tuple[Manifest, Deleted]:
    """Return a draft without the images, unpublished, and the result. The caller holds the collection's lock."""
    images = CollectionReader(storage, draft).images(["id", "key"])
    every: Int64 = images.column("id").to_numpy()
    wanted = pa.array(sorted(set(keys)), pa.string())
    named = every[pc.is_in(images.column("key"), wanted).to_numpy()]
    asked = np.unique(np.asarray(ids, np.int64))
    known = asked[tombstones.contains(every, asked)]
    found = np.union1d(named, known).astype(np.int64)
    after = tombstones.with_tombstones(storage, draft, found, reason, sequence)
    unknown = len(wanted) - len(named) + len(asked) - len(known)
    return after, Deleted(found.tolist(), unknown, draft.generation)
