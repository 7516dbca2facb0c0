"""Size-bounded LRU cache of filter results."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from lookalike_indexer.arrays import Bools
from lookalike_server.columns.row_mask import RowMask

# Number of serialized filters whose digests are cached, so that a repeated filter need not be parsed.
_WORDS = 1024
# Overhead of a result besides its booleans, in bytes.
_AROUND = 1 << 10


@dataclass(eq=False)
class Matches:
    """Images that match a filter. Immutable, except for the masks of spaces, which are added on demand.

    `images` (images,) has a boolean for each row of the images, and must not be modified. `text` is
    the filter in readable form. `meaning` is equal for equivalent filters.
    """

    images: Bools
    text: str
    meaning: str
    masks: dict[str, RowMask] = field(default_factory=dict)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = int(np.count_nonzero(self.images))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        # The mask of a space with every image shares these booleans.
        own = sum(mask.nbytes - (mask.bools is self.images) * mask.bools.nbytes for mask in list(self.masks.values()))
        return _AROUND + int(self.images.nbytes) + own


class MatchCache:
    """Matches by the meaning of their filter, and meanings by serialized filter. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[str, tuple[Matches, int]] = OrderedDict()
        self._words: OrderedDict[bytes, str] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all matches."""
        return self._bytes

    def by_message(self, words: bytes) -> Matches | None:
        """Return the matches of a filter with the same serialized bytes, or None."""
        with self._lock:
            meaning = self._words.get(_digest(words))
            return None if meaning is None else self._used(meaning)

    def by_meaning(self, meaning: str, words: bytes) -> Matches | None:
        """Return the matches of an equivalent filter, or None."""
        with self._lock:
            self._remember(words, meaning)
            return self._used(meaning)

    def put(self, matches: Matches) -> None:
        """Cache matches, or update their size, and evict the least recently used ones."""
        meaning, size = matches.meaning, matches.nbytes
        with self._lock:
            if meaning in self._kept:
                self._bytes -= self._kept.pop(meaning)[1]
            if size > self._most:
                return
            self._kept[meaning] = (matches, size)
            self._bytes += size
            while self._bytes > self._most:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    def _used(self, meaning: str) -> Matches | None:
        found = self._kept.get(meaning)
        if found is None:
            return None
        self._kept.move_to_end(meaning)
        return found[0]

    def _remember(self, words: bytes, meaning: str) -> None:
        digest = _digest(words)
        self._words[digest] = meaning
        self._words.move_to_end(digest)
        if len(self._words) > _WORDS:
            self._words.popitem(last=False)


def _digest(words: bytes) -> bytes:
    return hashlib.blake2b(words, digest_size=16).digest()
