"""Images that a table is joined with: the ids of each part, and the row of each key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Int64
from lookalike_indexer.collection import tombstones
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.sources.keytable import KeyTable
from lookalike_indexer.sources.labels import normalized_key


@dataclass(frozen=True)
class Images:
    """The images of a generation. Row i is the i-th image; the images of part n end before row `ends[n]`."""

    storage: Storage
    manifest: Manifest
    ends: Int64
    identity: str
    _keys: KeyTable

    @classmethod
    def read(cls, storage: Storage, manifest: Manifest) -> Images:
        """Read ids and keys once; 24 bytes per image stay in memory."""
        ends: list[int] = []
        digest = hashlib.sha256()
        deleted = tombstones.deleted_ids(storage, manifest)

        def keys() -> Iterator[str]:
            rows = 0
            for path in manifest.images:
                table = read_part(storage, path, ["id", "key"])
                texts = table.column("key").to_pylist()
                # A placeholder that no key equals: the key of a deleted image may belong to another one.
                for at in np.flatnonzero(tombstones.contains(deleted, table.column("id").to_numpy())).tolist():
                    texts[at] = f"\0{at + rows}"
                digest.update(f"{path.rsplit('-', 1)[1][:6]} {len(texts)}\n".encode())
                digest.update(table.column("id").to_numpy().astype("<i8").tobytes())
                for text in texts:
                    digest.update(text.encode() + b"\0")
                rows += len(texts)
                ends.append(rows)
                yield from texts

        table = KeyTable(keys())
        return cls(storage, manifest, np.array(ends, np.int64), digest.hexdigest(), table)

    def __len__(self) -> int:
        return len(self._keys)

    def rows(self, keys: list[str]) -> Int64:
        """Return the row of each key, -1 if it matches no image; shape (len(keys),).

        A key that does not match exactly is read as a path: absolute, with "./", or as a URI.
        """
        found = self._keys.find(keys)
        others = np.flatnonzero(found < 0).tolist()
        if others:
            source = self.manifest.source
            found[others] = self._keys.find([normalized_key(source, keys[at]) for at in others])
        return found

    def ids(self, part: int) -> Int64:
        """Return the ids of the images of a part, by its position in the manifest; shape (images of the part,)."""
        ids: Int64 = read_part(self.storage, self.manifest.images[part], ["id"]).column("id").to_numpy()
        return ids

    def key(self, row: int) -> str:
        """Return the key of the image in a row."""
        part = int(np.searchsorted(self.ends, row, side="right"))
        start = int(self.ends[part - 1]) if part else 0
        column: pa.ChunkedArray = read_part(self.storage, self.manifest.images[part], ["key"]).column("key")
        return str(column[row - start].as_py())
