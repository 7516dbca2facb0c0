"""JSON of one type, decoded by any number of threads at once.

msgspec looks at a type when it first decodes one, and keeps what it finds
before it is complete. Another thread that decodes the same type at that moment
ends the process. A decoder that a module makes when it is imported knows its
type before there is a second thread.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class TypedJson(Generic[T]):
    """Decodes JSON of `kind`; to be made at the top of a module. msgspec.MsgspecError: it is not such JSON."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, data: bytes | str) -> T:
        return self._decoder.decode(data)

    def convert(self, plain: Any) -> T:
        """The same of data that is decoded already, into dictionaries and lists."""
        return msgspec.convert(plain, self._kind)
