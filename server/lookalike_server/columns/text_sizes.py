"""How many bytes the texts of some images take in a reply, at most: known before a search has found them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike_indexer.arrays import Int64

# As many images as one query can have: Limits.max_k and its own image.
_MOST = 1025


class TextSizes:
    """The sizes of one text of each image, as a repeated field of a message has them.

    Images of one query differ, so that k of them take no more than the k
    longest texts do.
    """

    def __init__(self, lengths: Int64, most: int = _MOST) -> None:
        """`lengths` (images,) are the bytes of each text in UTF-8."""
        # A field's number, then the length as a varint of 7 bits a byte.
        sizes = lengths + 2 + (lengths >> 7 > 0) + (lengths >> 14 > 0) + (lengths >> 21 > 0)
        longest = np.partition(sizes, len(sizes) - most)[-most:] if len(sizes) > most else sizes
        self._sums: Int64 = np.concatenate([[0], np.cumsum(np.sort(longest)[::-1])]).astype(np.int64)

    @classmethod
    def of_sums(cls, sums: Int64) -> TextSizes:
        """As those that have these `sums`."""
        found = cls.__new__(cls)
        found._sums = sums
        return found

    @property
    def sums(self) -> Int64:
        """The most bytes that the texts of 0, 1, 2, ... images take."""
        return self._sums

    def with_more(self, images: int, longest: int) -> TextSizes:
        """An upper bound for these texts and those of more images, of which the longest has so many bytes."""
        added = min(images, _MOST)
        known = np.sort(np.concatenate([np.diff(self._sums), np.full(added, longest + 6, np.int64)]))[::-1]
        return TextSizes.of_sums(np.concatenate([[0], np.cumsum(known[:_MOST])]).astype(np.int64))

    def of(self, images: int) -> int:
        """The most bytes that the texts of so many different images take."""
        known = len(self._sums) - 1
        if images <= known:
            return int(self._sums[images])
        # Beyond those that were looked at, none is longer than the shortest of them.
        return int(self._sums[known] + (images - known) * np.diff(self._sums[-2:]).sum())


def encoded_lengths(texts: Sequence[str]) -> Int64:
    """The lengths of texts in UTF-8."""
    return np.array([len(text.encode()) for text in texts], np.int64)
