"""From a key to its row, without an object for each key.

A dict of a million strings takes over 100 MB and the garbage collector's time.
The keys are in memory as one Arrow column anyway: a permutation that sorts
them (4 bytes a key) makes binary search possible, at about 20 comparisons of
a microsecond each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.filters.texts import SortedTexts


class KeyIndex:
    """Rows of a column of distinct keys."""

    def __init__(self, keys: pa.LargeStringArray, order: npt.NDArray[Any] | None = None) -> None:
        """`order` is that of the keys, as `order_of` gives it."""
        self._texts = SortedTexts(keys, order_of(keys) if order is None else order)

    def row(self, key: str) -> int | None:
        """The row of a key, or None."""
        return self._texts.row(key)

    def sorted_texts(self) -> tuple[npt.NDArray[np.int64], SortedTexts]:
        """The place of each key among all, and the keys in their order, without copying them."""
        return self._texts.ranks, self._texts


def order_of(keys: pa.LargeStringArray) -> npt.NDArray[Any]:
    """The rows of keys in the order of their UTF-8; four bytes each as long as that is enough."""
    # Arrow compares UTF-8 byte by byte, which is how SortedTexts compares too.
    order: npt.NDArray[Any] = pc.sort_indices(keys).to_numpy()
    return order.astype(np.uint32) if len(order) < 1 << 32 else order
