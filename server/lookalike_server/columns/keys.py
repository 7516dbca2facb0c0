"""From a key to its row, without an object for each key.

A dict of a million strings takes over 100 MB and the garbage collector's time.
The keys are in memory as one Arrow column anyway: a permutation that sorts
them (4 bytes a key) makes binary search possible, at about 20 comparisons of
a microsecond each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.filters.texts import SortedTexts


class KeyIndex:
    """Rows of a column of distinct keys."""

    def __init__(self, keys: pa.LargeStringArray) -> None:
        # Arrow compares UTF-8 byte by byte, which is how `row` compares too.
        order = pc.sort_indices(keys).to_numpy()
        self._order: npt.NDArray[np.uint32] | npt.NDArray[np.uint64] = (
            order.astype(np.uint32) if len(order) < 1 << 32 else order
        )
        self._keys = keys
        _, offsets, data = keys.buffers()
        self._offsets = np.frombuffer(offsets, np.int64)[keys.offset : keys.offset + len(keys) + 1]
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def row(self, key: str) -> int | None:
        """The row of a key, or None."""
        wanted = key.encode()
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low < len(self._order) and self._bytes(low) == wanted:
            return int(self._order[low])
        return None

    def sorted_texts(self) -> tuple[npt.NDArray[np.int64], SortedTexts]:
        """The place of each key among all, and the keys in their order, without copying them."""
        texts = SortedTexts(self._keys, self._order)
        return texts.ranks, texts

    def _bytes(self, position: int) -> bytes:
        row = self._order[position]
        return self._data[self._offsets[row] : self._offsets[row + 1]].tobytes()
