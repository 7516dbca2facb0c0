"""Masks of the queries of one search, and the faiss selectors made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Float64, Int64
from lookalike_server.columns.row_mask import RowMask


@dataclass(frozen=True)
class QueryMasks:
    """Query i may find what `masks[numbers[i]]` allows, of the rows of one index. `masks` are distinct."""

    masks: tuple[RowMask, ...]
    numbers: Int64

    @classmethod
    def of(cls, masks: Sequence[RowMask]) -> QueryMasks:
        """Build from one mask per query, in order. Equal masks are merged."""
        by_object = {id(mask): mask for mask in masks}
        if len(by_object) == 1:
            return cls((masks[0],), np.zeros(len(masks), np.int64))
        names = {key: mask.digest for key, mask in by_object.items()}
        distinct = {mask.digest: mask for mask in by_object.values()}
        places = {digest: place for place, digest in enumerate(distinct)}
        return cls(tuple(distinct.values()), np.array([places[names[id(mask)]] for mask in masks], np.int64))

    @property
    def matches(self) -> Int64:
        """Number of rows that each query may find."""
        return np.array([mask.count for mask in self.masks], np.int64)[self.numbers]

    @property
    def shares(self) -> Float64:
        """Share of the rows that each query may find."""
        return np.array([mask.share for mask in self.masks])[self.numbers]

    def groups(self) -> Iterator[tuple[RowMask, Int64]]:
        """Yield each mask that a query has, and the numbers of those queries."""
        for number, mask in enumerate(self.masks):
            lines = np.flatnonzero(self.numbers == number)
            if len(lines):
                yield mask, lines

    def by_query(self) -> list[RowMask]:
        """Return the mask of each query."""
        return [self.masks[number] for number in self.numbers.tolist()]

    def at(self, lines: Int64) -> QueryMasks:
        """Return the masks of some queries."""
        return QueryMasks(self.masks, self.numbers[lines])

    def part(self, start: int, stop: int) -> QueryMasks:
        """Return the same masks for rows `[start, stop)`, renumbered from 0."""
        return QueryMasks(tuple(mask.part(start, stop) for mask in self.masks), self.numbers)

    def allow(self, rows: Int64) -> npt.NDArray[np.bool_]:
        """Return whether each query may find its rows (n, k); False for row -1."""
        allowed = np.zeros(rows.shape, np.bool_)
        for mask, lines in self.groups():
            allowed[lines] = mask.allows(rows[lines])
        return allowed


def bitmap(mask: RowMask) -> faiss.IDSelector:
    """Return a selector that looks up each row. The mask must outlive it."""
    return faiss.IDSelectorBitmap(len(mask.bits), faiss.swig_ptr(mask.bits))


def listed(mask: RowMask) -> faiss.IDSelector:
    """Return a selector with which a flat index visits only the listed rows, for small masks.

    The mask must outlive it.
    """
    return faiss.IDSelectorArray(mask.count, faiss.swig_ptr(mask.rows))
