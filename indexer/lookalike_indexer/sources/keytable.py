"""Lookup table of many keys: 24 bytes for each key of any length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from lookalike_indexer.arrays import Int64

UInt64 = npt.NDArray[np.uint64]
_BATCH = 4096


class KeyTable:
    """The number of each key, by order of appearance.

    Keys are identified by 128-bit BLAKE2b digests, sorted: among a thousand million keys, two collide with a
    probability of about 1e-21.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        batches = [_digests(batch) for batch in batched(keys, _BATCH)]
        digests = np.concatenate(batches) if batches else np.empty((0, 2), np.uint64)
        del batches
        self._order = np.lexsort((digests[:, 1], digests[:, 0]))
        # Separate arrays, so that a search among the upper halves reads contiguous memory.
        self._high: UInt64 = digests[self._order, 0]
        self._low: UInt64 = digests[self._order, 1]

    def __len__(self) -> int:
        return len(self._order)

    def find(self, keys: Sequence[str]) -> Int64:
        """Return the number of each key, -1 for one that is not in the table; shape (len(keys),)."""
        out = np.full(len(keys), -1, np.int64)
        if not len(self) or not len(keys):
            return out
        wanted = _digests(keys)
        at = np.searchsorted(self._high, wanted[:, 0], side="left")
        inside = np.minimum(at, len(self) - 1)
        near = (at < len(self)) & (self._high[inside] == wanted[:, 0])
        same = near & (self._low[inside] == wanted[:, 1])
        out[same] = self._order[inside[same]]
        # Equal upper halves of different keys are extremely improbable.
        for position in np.flatnonzero(near & ~same):
            row = int(at[position])
            while row < len(self) and self._high[row] == wanted[position, 0]:
                if self._low[row] == wanted[position, 1]:
                    out[position] = self._order[row]
                row += 1
        return out

    def first_duplicate(self) -> tuple[int, int] | None:
        """Return the numbers of two equal keys, for the repetition that comes first; None if all differ."""
        pairs = self.duplicates()
        if not len(pairs):
            return None
        first, again = pairs[np.argmin(pairs[:, 1])].tolist()
        return first, again

    def duplicates(self) -> Int64:
        """Return the numbers of each repeated key and of the equal one before it, ascending; shape (n, 2)."""
        same = np.flatnonzero((self._high[1:] == self._high[:-1]) & (self._low[1:] == self._low[:-1]))
        return np.sort(np.stack([self._order[same], self._order[same + 1]], axis=1), axis=1)


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _digests(keys: Sequence[str]) -> UInt64:
    """Return the digest of each key as two numbers, shape (len(keys), 2)."""
    data = b"".join(hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys)
    return np.frombuffer(data, "<u8").reshape(len(keys), 2)
