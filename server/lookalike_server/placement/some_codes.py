"""Compares queries with some codes of a scalar quantizer: copies these codes into one array, then scans all of it."""

from __future__ import annotations

import threading

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float32, Int64

# Largest number of bytes to copy. Each thread keeps this memory, because fresh pages take longer than the copy.
_COPIED_BYTES = 1 << 22
# Bytes copied in the time of one selector look-up in faiss, and overhead bytes of each copied row.
_BYTES, _MORE_BYTES = 32, 64


class SomeCodes:
    """Searches chosen rows of an IndexScalarQuantizer.

    faiss asks a selector about every row of such an index. If few rows match,
    copying their codes is quicker. Scores equal those of the index itself.
    """

    def __init__(self, index: faiss.IndexScalarQuantizer) -> None:
        # Each search reads the codes from the index, which may grow.
        self._index = index
        self._width = int(index.code_size)
        self._kept = threading.local()

    def quicker(self, count: int) -> bool:
        """Return whether copying the codes of `count` rows is quicker than asking about each row of the index."""
        return (
            count * self._width <= _COPIED_BYTES
            and count * (self._width + _MORE_BYTES) <= int(self._index.ntotal) * _BYTES
        )

    def search(self, queries: Float32, rows: Int64, k: int) -> tuple[Float32, Int64]:
        """Return the scores and the k best of `rows` (m,) for queries (n, dim), both (n, k); row -1 if m is less."""
        if not len(rows):
            worst = -np.inf if self._index.metric_type == faiss.METRIC_INNER_PRODUCT else np.inf
            return np.full((len(queries), k), worst, np.float32), np.full((len(queries), k), -1, np.int64)
        some, copies = self._room(len(rows))
        codes = faiss.rev_swig_ptr(self._index.codes.data(), self._index.ntotal * self._width)
        np.take(codes.reshape(-1, self._width), rows, axis=0, out=copies, mode="clip")
        some.reset()
        some.add_sa_codes(copies)
        scores, places = some.search(queries, k)
        return scores, np.where(places < 0, -1, rows[places])

    def _room(self, count: int) -> tuple[faiss.IndexScalarQuantizer, npt.NDArray[np.uint8]]:
        """Return an empty index with the same quantizer, and room for `count` codes."""
        kept = self._kept
        if not hasattr(kept, "index"):
            kept.index = faiss.IndexScalarQuantizer(self._index.d, self._index.sq.qtype, self._index.metric_type)
            kept.index.sq.trained = self._index.sq.trained
            kept.index.is_trained = True
            kept.copies = np.empty((0, self._width), np.uint8)
        if len(kept.copies) < count:
            kept.copies = np.empty((count, self._width), np.uint8)
        return kept.index, kept.copies[:count]
