"""Keys and labels of imported vectors, looked up by the keys of a source's images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.imported.vectors import InputVectors
from lookalike_indexer.sources.keytable import KeyTable
from lookalike_indexer.sources.labels import normalized_key


class VectorsByKey:
    """Finds vectors by keys, exactly or after `normalized_key`. For empty labels the source's are used."""

    def __init__(self, given: InputVectors, source: SourceEntry) -> None:
        self._labels, self._source = given.labels, source
        self._keys = KeyTable(given.keys)
        self._normalized = KeyTable(normalized_key(source, key) for key in given.keys)

    # Images need no labels, and labels need no images: mismatches are reported for the vectors instead.
    @property
    def used(self) -> int:
        return 0

    @property
    def unknown(self) -> int:
        return 0

    @property
    def example(self) -> str:
        return ""

    def rows(self, keys: Sequence[str]) -> Int64:
        """Return the row of the vectors for each key of an image, -1 if there is none; shape (len(keys),)."""
        found = self._keys.find(keys)
        others = np.flatnonzero(found < 0).tolist()
        found[others] = self._normalized.find([normalized_key(self._source, keys[at]) for at in others])
        return found

    def look_up(self, keys: Sequence[str]) -> tuple[list[str | None], Bools]:
        """Return the label of each key, None if its vector has none, and whether it has one."""
        if self._labels is None:
            return [None] * len(keys), np.zeros(len(keys), np.bool_)
        labels = [self._labels[row] or None if row >= 0 else None for row in self.rows(keys).tolist()]
        return labels, np.array([label is not None for label in labels], np.bool_)
