"""One image of a source, before it is read, and the interface of a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lookalike_indexer.collection.manifest import SourceEntry


@dataclass(frozen=True)
class SourceRow:
    """An image of a source.

    `uri` is relative to the source's root folder if possible; `collection.uris.absolute` converts it for `fetch`. It is
    the path of a file, or "FILE#KEY" for a member of a Parquet, tar or zip file. It is empty if the image cannot be
    reached at all. `bytes` and `modified_ns` are the length and the time of the file that holds it: if they change, the
    image may have changed.
    """

    key: str
    label: str | None
    uri: str
    bytes: int
    modified_ns: int


class Source(Protocol):
    """A set of images in a fixed order."""

    @property
    def left_out(self) -> dict[str, int]:
        """The number of entries that the latest `rows()` or `keys()` has left out so far, by kind, such as "hidden"."""
        ...

    @property
    def unreadable_folders(self) -> list[str]:
        """Relative paths of the left-out folders and shards that could not be read; their images are unknown."""
        ...

    @property
    def entry(self) -> SourceEntry:
        """The description of the source in the manifest."""
        ...

    def keys(self) -> Iterator[str] | None:
        """Return the keys, in order, if two of them could be equal; None if they cannot."""
        ...

    def rows(self) -> Iterator[SourceRow]:
        """Yield the images, in order, without reading any of them."""
        ...
