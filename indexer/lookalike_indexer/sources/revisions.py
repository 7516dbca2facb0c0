"""Changes of rows that the listing has: collected one by one, written as revised parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lookalike_indexer.collection import layout, schema
from lookalike_indexer.collection.parts import read_part, with_columns, write_part
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.collection.storage import Storage

Change = Mapping[str, Any]


def revise_part(storage: Storage, path: str, changes: Mapping[int, Change], metadata: Mapping[bytes, bytes]) -> str:
    """Write a part of the listing with some rows changed; returns its path, the same one when nothing differs.

    `changes` has the new values of columns, by row. The digest of the part and
    its changes names the file, so that a run which is repeated finds it.
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
