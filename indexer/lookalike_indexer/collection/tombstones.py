"""Tombstones: the ids of deleted images, which every reader leaves out.

Deleting an image adds its id to the generation's tombstones and changes no
other table. An id is never used again: an image that replaces another, or
comes back, gets a new one. The rows go when `compact` writes the parts without
them; the tombstone stays, so that the key is not listed again by mistake.

The table grows at its end by one part for each change. Many parts become one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection import generations, layout, schema
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage

# "deleted": by a person, so that the source does not bring it back. "gone": the source does not have it any more.
# "replaced": a newer id has its key.
Reason = Literal["deleted", "gone", "replaced"]
REASONS: Final[tuple[Reason, ...]] = ("deleted", "gone", "replaced")

# So many parts become one.
_MOST_PARTS = 16


def stored(storage: Storage, manifest: Manifest) -> pa.Table:
    """The tombstones of a generation, schema.TOMBSTONES, by ascending id; each id once."""
    tables = [read_part(storage, path, schema.TOMBSTONES.names) for path in manifest.tombstones]
    table = pa.concat_tables([schema.TOMBSTONES.empty_table(), *tables]).combine_chunks()
    return table.take(pa.array(np.argsort(table.column("id").to_numpy(), kind="stable")))


def deleted_ids(storage: Storage, manifest: Manifest) -> Int64:
    """The ids of the deleted images, ascending; empty without reading anything where there are no tombstones."""
    if not manifest.tombstones:
        return np.empty(0, np.int64)
    return np.array(stored(storage, manifest).column("id").to_numpy(), np.int64)


def contains(ascending: Int64, ids: Int64) -> Bools:
    """Whether each of some ids, of any shape and order, is among ascending ones."""
    if not len(ascending):
        return np.zeros(np.shape(ids), np.bool_)
    places = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    found: Bools = ascending[places] == ids
    return found


def with_tombstones(
    storage: Storage, draft: Manifest, ids: Int64 | Sequence[int], reason: Reason, sequence: int = 0
) -> Manifest:
    """The draft with more deleted images; writes a part, publishes nothing.

    Ids that are deleted already keep their tombstones. `sequence` is the number of the change in a log. The caller
    holds the collection's lock, and passes only ids that the listing has.
    """
    there = deleted_ids(storage, draft)
    fresh = np.unique(np.asarray(ids, np.int64))
    fresh = fresh[~contains(there, fresh)]
    if not len(fresh):
        return draft
    columns = [fresh, [reason] * len(fresh), [draft.generation + 1] * len(fresh), [sequence] * len(fresh)]
    added = pa.table([pa.array(column) for column in columns], schema=schema.TOMBSTONES)
    if len(draft.tombstones) < _MOST_PARTS:
        paths = [*draft.tombstones, _written(storage, added)]
    else:
        whole = pa.concat_tables([stored(storage, draft), added]).sort_by("id").combine_chunks()
        paths = [_written(storage, whole)]
    return generations.complete(storage, dataclasses.replace(draft, tombstones=paths))


def _written(storage: Storage, table: pa.Table) -> str:
    """Write a part under the digest of what it says; returns its path."""
    path = layout.tombstones(digest_of([table.column(name).to_pylist() for name in table.column_names]))
    if not storage.exists(path):
        write_part(storage, path, table)
    return path
