"""Index from keys to rows, without a Python object per key.

A dict of a million strings takes over 100 MB, and time of the garbage collector. The keys are in
memory as an Arrow column anyway. A permutation that sorts them, 4 bytes per key, allows a binary
search of about 20 comparisons, a microsecond each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.filters.texts import SortedTexts


class KeyIndex:
    """Index of the rows of a column of distinct keys."""

    def __init__(self, keys: pa.LargeStringArray, order: npt.NDArray[Any] | None = None) -> None:
        """`order` is the order of the keys, as returned by `order_of`."""
        self._texts = SortedTexts(keys, order_of(keys) if order is None else order)

    def row(self, key: str) -> int | None:
        """Return the row of a key, or None."""
        return self._texts.row(key)

    def sorted_texts(self) -> tuple[npt.NDArray[np.int64], SortedTexts]:
        """Return the rank of each key, and the sorted keys, without copying them."""
        return self._texts.ranks, self._texts


def order_of(keys: pa.LargeStringArray) -> npt.NDArray[Any]:
    """Return the rows of keys in UTF-8 order, in four bytes each while that suffices."""
    # Arrow compares UTF-8 bytes, as SortedTexts does.
    order: npt.NDArray[Any] = pc.sort_indices(keys).to_numpy()
    return order.astype(np.uint32) if len(order) < 1 << 32 else order
