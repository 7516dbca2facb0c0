"""Upper bound of the bytes that texts take in a reply, known before the search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike_indexer.arrays import Int64

# Largest number of images of one query: Limits.max_k and its own image.
_MOST = 1025


class TextSizes:
    """Sizes of one text per image, as encoded in a repeated field of a message.

    The images of one query are distinct, so k of them take at most the bytes of the k longest
    texts.
    """

    def __init__(self, lengths: Int64, most: int = _MOST) -> None:
        """`lengths` (images,) are the bytes of each text in UTF-8."""
        # One byte for the field number, then the length as a varint of 7 bits per byte.
        sizes = lengths + 2 + (lengths >> 7 > 0) + (lengths >> 14 > 0) + (lengths >> 21 > 0)
        longest = np.partition(sizes, len(sizes) - most)[-most:] if len(sizes) > most else sizes
        self._sums: Int64 = np.concatenate([[0], np.cumsum(np.sort(longest)[::-1])]).astype(np.int64)

    @classmethod
    def of_sums(cls, sums: Int64) -> TextSizes:
        """Create an object with these `sums`."""
        found = cls.__new__(cls)
        found._sums = sums
        return found

    @property
    def sums(self) -> Int64:
        """Largest number of bytes for the texts of 0, 1, 2, ... images."""
        return self._sums

    def with_more(self, images: int, longest: int) -> TextSizes:
        """Return an upper bound for these texts plus those of more images, whose longest text has `longest` bytes."""
        added = min(images, _MOST)
        known = np.sort(np.concatenate([np.diff(self._sums), np.full(added, longest + 6, np.int64)]))[::-1]
        return TextSizes.of_sums(np.concatenate([[0], np.cumsum(known[:_MOST])]).astype(np.int64))

    def of(self, images: int) -> int:
        """Return the largest number of bytes that the texts of this many distinct images take."""
        known = len(self._sums) - 1
        if images <= known:
            return int(self._sums[images])
        # Texts beyond the known ones are no longer than the shortest known one.
        return int(self._sums[known] + (images - known) * np.diff(self._sums[-2:]).sum())


def encoded_lengths(texts: Sequence[str]) -> Int64:
    """Return the lengths of texts in UTF-8."""
    return np.array([len(text.encode()) for text in texts], np.int64)
