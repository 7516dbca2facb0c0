"""Deleting images of a collection: a generation with more tombstones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from lookalike_indexer.collection import generations, tombstones
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.tombstones import Reason


@dataclass(frozen=True)
class Deleted:
    """What was deleted: ids, ascending; `unknown` counts the keys and ids that name no image. The generation has it."""

    ids: list[int]
    unknown: int
    generation: int


def delete(storage: Storage, keys: Sequence[str] = (), ids: Sequence[int] = (), reason: Reason = "deleted") -> Deleted:
    """Delete images by key or id and publish that; nothing is published where none of them is there.

    A key means its newest image. What is not there is counted, and is no error. CollectionLockedError: another process
    writes to the collection. NotFoundError: there is none.
    """
    generations.require_latest(storage)
    with writing(storage):
        manifest = generations.require_latest(storage)
        images = CollectionReader(storage, manifest).images(["id", "key"])
        every = images.column("id").to_numpy()
        wanted = set(keys)
        named = (
            every[pc.is_in(images.column("key"), pc.cast(list(wanted), "string")).to_numpy()] if wanted else every[:0]
        )
        asked = np.unique(np.asarray(ids, np.int64))
        known = asked[tombstones.contains(every, asked)]
        found = np.union1d(named, known).astype(np.int64)
        draft = tombstones.with_tombstones(storage, manifest, found, reason)
        generation = generations.publish(storage, draft).generation
    return Deleted(found.tolist(), len(wanted) - len(named) + len(asked) - len(known), generation)
