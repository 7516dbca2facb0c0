"""Thread-safe JSON decoder for one type.

msgspec inspects a type on the first decoding, and caches the result before it is complete. Another thread that decodes
the same type at that moment crashes the process. A decoder that is created at module import knows its type before a
second thread exists.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class TypedJson(Generic[T]):
    """A decoder for JSON of type `kind`; create it at module level. Raise msgspec.MsgspecError for other JSON."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, data: bytes | str) -> T:
        return self._decoder.decode(data)

    def convert(self, plain: Any) -> T:
        """Convert already decoded dictionaries and lists to the type."""
        return msgspec.convert(plain, self._kind)
