"""Size-bounded LRU cache of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class ByteLru(Generic[Key]):
    """A cache of at most `bound` bytes; each entry counts as its size plus 200 bytes."""

    _EACH = 200

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: OrderedDict[Key, bytes] = OrderedDict()
        self.size: int = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> bytes | None:
        """Return the bytes of a key, None if they are not cached."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: Key, data: bytes) -> None:
        """Cache bytes; data larger than the bound is not kept."""
        before = self._entries.pop(key, None)
        if before is not None:
            self.size -= len(before) + self._EACH
        self._entries[key] = data
        self.size += len(data) + self._EACH
        while self.size > self._bound:
            _, dropped = self._entries.popitem(last=False)
            self.size -= len(dropped) + self._EACH
