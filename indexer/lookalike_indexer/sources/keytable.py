"""Looking keys up in a set that may be large: 24 bytes for each key, whatever its length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
_BATCH = 4096
_DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])


class KeyTable:
    """The number of each key, by order of appearance.

    Keys are known by 128-bit BLAKE2b digests, sorted: among a thousand million
    keys two share one with a probability of about 1e-21.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        batches = [_digests(batch) for batch in batched(keys, _BATCH)]
        digests = np.concatenate(batches) if batches else np.empty(0, _DIGEST)
        self._order = np.lexsort((digests["low"], digests["high"]))
        self._sorted = digests[self._order]
        del digests

    def __len__(self) -> int:
        return len(self._sorted)

    def find(self, keys: Sequence[str]) -> Int64:
        """The number of each key, -1 for one that is not in the table; shape (len(keys),)."""
        wanted = _digests(keys)
        out = np.full(len(keys), -1, np.int64)
        if not len(self):
            return out
        start = np.searchsorted(self._sorted["high"], wanted["high"], side="left")
        for position, (at, digest) in enumerate(zip(start.tolist(), wanted, strict=True)):
            # Equal upper halves are all but impossible, so that this is one step.
            while at < len(self) and self._sorted["high"][at] == digest["high"]:
                if self._sorted["low"][at] == digest["low"]:
                    out[position] = self._order[at]
                    break
                at += 1
        return out

    def first_duplicate(self) -> tuple[int, int] | None:
        """The numbers of two equal keys, the one that repeats first in order; None when all differ."""
        same = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if not len(same):
            return None
        pairs = np.sort(np.stack([self._order[same], self._order[same + 1]]), axis=0)
        first = int(np.argmin(pairs[1]))
        return int(pairs[0, first]), int(pairs[1, first])


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _digests(keys: Sequence[str]) -> npt.NDArray[np.void]:
    data = b"".join(hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys)
    return np.frombuffer(data, _DIGEST)
