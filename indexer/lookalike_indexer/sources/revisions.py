"""Changes of listed rows: collected one by one, written as revised parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection import layout, schema
from lookalike_indexer.collection.parts import read_part, with_columns, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage

Change = Mapping[str, Any]


class ListingChanges:
    """New column values of listed rows, by the rows' numbers.

    In a copied source every file has another time. Sizes and times are therefore arrays of 17 bytes for each of `rows`
    rows, created with the first touched file. All other changes are few, and are dictionaries.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._touched: Bools = np.zeros(0, np.bool_)
        self._bytes: Int64 = np.zeros(0, np.int64)
        self._modified_ns: Int64 = np.zeros(0, np.int64)
        self._others: dict[int, dict[str, Any]] = {}

    def touch(self, number: int, length: int, modified_ns: int, changed_sha256: str | None) -> None:
        """Record the size and time of a file, and the digest of its bytes if they differ from the embedded ones."""
        if not len(self._touched):
            self._touched = np.zeros(self._rows, np.bool_)
            self._bytes = np.zeros(self._rows, np.int64)
            self._modified_ns = np.zeros(self._rows, np.int64)
        self._touched[number] = True
        self._bytes[number], self._modified_ns[number] = length, modified_ns
        if changed_sha256 is not None:
            self.set(number, {"changed_sha256": changed_sha256})

    def set(self, number: int, change: Change) -> None:
        """Record new column values; they take precedence over those of `touch`."""
        self._others.setdefault(number, {}).update(change)

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the changed rows, ascending."""
        others = np.array(sorted(self._others), np.int64)
        yield from np.union1d(np.flatnonzero(self._touched), others).tolist()

    def of(self, number: int) -> dict[str, Any]:
        """Return the new values of a changed row."""
        others = self._others.get(number, {})
        if not len(self._touched) or not self._touched[number]:
            return others
        size, time = int(self._bytes[number]), int(self._modified_ns[number])
        return {"bytes": size, "modified_ns": time, "changed_sha256": None, **others}


def revise_part(storage: Storage, path: str, changes: Mapping[int, Change], metadata: Mapping[bytes, bytes]) -> str:
    """Write a part of the listing with some rows changed; return its path, the same one if nothing differs.

    `changes` has the new column values, by row. The file is named by the digest of the part and its changes, so that a
    repeated run finds it.
    """
    before = with_columns(read_part(storage, path), schema.SOURCE.names)
    rows = before.to_pylist()
    for row, change in changes.items():
        rows[row] |= change
    after = pa.Table.from_pylist(rows, schema.SOURCE.with_metadata(dict(metadata)))
    if after.equals(before.cast(schema.SOURCE)):
        return path
    told = {str(row): dict(changes[row]) for row in changes}
    revised = layout.revised(path, digest_of([path, told]))
    write_part(storage, revised, after)
    return revised
