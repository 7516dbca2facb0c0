"""Distinct strings in byte order, searched by bisection, without an object for each string."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


class SortedTexts:
    """Distinct strings, by position in the order of their UTF-8, as in Arrow and DuckDB."""

    def __init__(self, texts: pa.LargeStringArray, order: npt.NDArray[Any]) -> None:
        """Create the strings: string `order[i]` of `texts` is at position i. Neither is copied."""
        _, offsets, data = texts.buffers()
        self._texts, self._order = texts, order
        self._offsets = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        self._data = memoryview(data) if data is not None else memoryview(b"")

    @classmethod
    def of(cls, texts: pa.Array) -> SortedTexts:
        """Create the strings from distinct ones in any order."""
        plain = texts.cast(pa.large_string())
        return cls(plain, pc.sort_indices(plain).to_numpy())

    def __len__(self) -> int:
        return len(self._order)

    def find(self, text: str) -> tuple[int, bool]:
        """Return the number of strings before `text`, and whether `text` is one of them."""
        wanted = text.encode(errors="surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low, low < len(self) and self._bytes(low) == wanted

    def row(self, text: str) -> int | None:
        """Return the index of a string in the original order, or None."""
        place, is_there = self.find(text)
        return int(self._order[place]) if is_there else None

    @property
    def ranks(self) -> npt.NDArray[np.int64]:
        """The position of each string, in the original order."""
        ranks = np.empty(len(self), np.int64)
        ranks[self._order] = np.arange(len(self))
        return ranks

    def take(self, places: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
        """Return the strings at some positions, null if missing."""
        if missing is None:
            return self._texts.take(pa.array(self._order[places].astype(np.int64))).cast(pa.string())
        rows = np.zeros(len(places), np.int64)
        rows[~missing] = self._order[places[~missing]]
        return self._texts.take(pa.array(rows, mask=missing)).cast(pa.string())

    @property
    def nbytes(self) -> int:
        """The memory of the strings in bytes."""
        return int(self._texts.nbytes) + int(self._order.nbytes)

    def _bytes(self, place: int) -> bytes:
        row = self._order[place]
        return self._data[self._offsets[row] : self._offsets[row + 1]].tobytes()
