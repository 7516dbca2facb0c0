"""Near-duplicates by perceptual hash: graph neighbors whose hashes are similar and informative.

Images of one kind on a plain background have similar hashes although they differ. Two signs identify them: their hashes
are similar to those of all their neighbors, and they are no nearer to each other than to the rest of their lists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.experiments.view import View
from lookalike_indexer.quality.flags import HASH, TABLE

# Of 64 bits: hashes of near-duplicates differ by at most the first number, unrelated ones by 32 +- 4.
_ALIKE, _UNRELATED = 8, 24
# At least one of this many neighbors must have an unrelated hash.
_OF_NEIGHBORS = 4
# The distance of near-duplicates is at most this share of the longest one in the lists of both.
_REACH = 2 / 3
# The number of set bits of each byte.
_ONES = np.array([number.bit_count() for number in range(256)], np.uint8)
RULE = (
    f"neighbors whose perceptual hashes differ by at most {_ALIKE} of 64 bits, if both hashes differ by at least "
    f"{_UNRELATED} bits from those of a quarter of their own neighbors, and the distance is at most two thirds of the "
    "longest in the two lists"
)


@dataclass(frozen=True)
class HashRule:
    """Hash rule for a graph: `hashes` (images,) uint64; `telling` (images,), whether each hash is informative.

    `reach` (images,) is the longest distance in the list of each image, 0 without a list.
    """

    view: View
    hashes: npt.NDArray[np.uint64]
    telling: Bools
    reach: Float32

    @staticmethod
    def has_hashes(view: View) -> bool:
        """Return whether `lookalike quality` stored hashes."""
        entry = view.reader.manifest.attributes.get(TABLE)
        return entry is not None and HASH in {column.name for column in entry.columns}

    @classmethod
    def of(cls, view: View, space: str) -> HashRule:
        """Read the hashes, and stream the graph to determine which of them are informative."""
        hashes, known = _stored(view)
        telling, reach = np.zeros(len(view), np.bool_), np.zeros(len(view), np.float32)
        for ids, neighbors, distances in view.reader.stream_graph(space):
            rows, others, there = _rows(view, ids, neighbors)
            unrelated = there & known[others] & (_differ(hashes, rows, others) >= _UNRELATED)
            enough = _OF_NEIGHBORS * unrelated.sum(axis=1) >= there.sum(axis=1)
            telling[rows] = known[rows] & there.any(axis=1) & enough
            reach[rows] = np.where(there, distances, 0).max(axis=1, initial=0)
        return cls(view, hashes, telling, reach)

    def alike(self, ids: Int64, neighbors: Int64, distances: Float32) -> Bools:
        """Return which neighbors (n, k) of some images (n,) are near-duplicates by `RULE`."""
        rows, others, there = _rows(self.view, ids, neighbors)
        near = distances <= np.float32(_REACH) * np.maximum(self.reach[rows][:, None], self.reach[others])
        telling = self.telling[rows][:, None] & self.telling[others]
        found: Bools = there & telling & near & (_differ(self.hashes, rows, others) <= _ALIKE)
        return found


def _rows(view: View, ids: Int64, neighbors: Int64) -> tuple[Int64, Int64, Bools]:
    """Return the rows of images and of their neighbors, and which neighbors exist; missing ones get the image's own
    row.
    """
    there = neighbors >= 0
    return view.rows_of_ids(ids), view.rows_of_ids(np.where(there, neighbors, ids[:, None])), there


def _differ(hashes: npt.NDArray[np.uint64], rows: Int64, others: Int64) -> npt.NDArray[np.uint64]:
    """Return the number of bits by which the hashes of images (n,) differ from those of others (n, k)."""
    apart = np.ascontiguousarray(hashes[rows][:, None] ^ hashes[others])
    differ: npt.NDArray[np.uint64] = _ONES[apart.view(np.uint8).reshape(*apart.shape, 8)].sum(axis=-1)
    return differ


def _stored(view: View) -> tuple[npt.NDArray[np.uint64], Bools]:
    """Return the perceptual hash of each image, and whether it is valid: that of a uniform image is not informative."""
    hashes, known = np.zeros(len(view), np.uint64), np.zeros(len(view), np.bool_)
    for path in view.reader.manifest.attributes[TABLE].parts:
        table = read_part(view.reader.storage, path, ["id", HASH, "uniform"])
        there = np.flatnonzero(np.isin(table.column("id").to_numpy(), view.ids))
        table = table.take(pa.array(there))
        rows = view.rows_of_ids(table.column("id").to_numpy())
        hashes[rows] = table.column(HASH).fill_null(0).to_numpy().astype(np.int64).view(np.uint64)
        known[rows] = table.column(HASH).is_valid().to_numpy() & ~table.column("uniform").fill_null(True).to_numpy()
    return hashes, known
