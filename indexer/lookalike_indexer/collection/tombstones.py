"""Tombstones: the ids of deleted images, which every reader leaves out.

Deleting an image adds its id to the generation's tombstones and changes no other table. Ids are never reused: an image
that replaces another, or comes back, gets a new one. `compact` rewrites the parts without the deleted rows. The
tombstone stays, so that the key is not listed again by mistake.

The table grows by one part for each change. Many parts are merged into one.
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

# "deleted": by a user, so that the source does not bring it back. "gone": missing from the source. "replaced": a newer
# id has its key.
Reason = Literal["deleted", "gone", "replaced"]
REASONS: Final[tuple[Reason, ...]] = ("deleted", "gone", "replaced")

# The number of parts that triggers a merge.
_MOST_PARTS = 16


def stored(storage: Storage, manifest: Manifest) -> pa.Table:
    """Return the tombstones of a generation as schema.TOMBSTONES, by ascending id; each id occurs once."""
    tables = [read_part(storage, path, schema.TOMBSTONES.names) for path in manifest.tombstones]
    table = pa.concat_tables([schema.TOMBSTONES.empty_table(), *tables]).combine_chunks()
    return table.take(pa.array(np.argsort(table.column("id").to_numpy(), kind="stable")))


def deleted_ids(storage: Storage, manifest: Manifest) -> Int64:
    """Return the ids of the deleted images, ascending; read nothing if there are no tombstones."""
    if not manifest.tombstones:
        return np.empty(0, np.int64)
    return np.array(stored(storage, manifest).column("id").to_numpy(), np.int64)


def contains(ascending: Int64, ids: Int64) -> Bools:
    """Return whether each id, of any shape and order, is among ascending ones."""
    if not len(ascending):
        return np.zeros(np.shape(ids), np.bool_)
    places = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    found: Bools = ascending[places] == ids
    return found


def with_tombstones(
    storage: Storage, draft: Manifest, ids: Int64 | Sequence[int], reason: Reason, sequence: int = 0
) -> Manifest:
    """Return the draft with more deleted images; write a part, publish nothing.

    Deleted ids keep their tombstones. `sequence` is that of the change in a change log. The caller holds the
    collection's lock, and passes only ids that are in the listing.
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
    """Write a part named by the digest of its content; return its path."""
    path = layout.tombstones(digest_of([table.column(name).to_pylist() for name in table.column_names]))
    if not storage.exists(path):
        write_part(storage, path, table)
    return path
