"""One image of a source, before anything of it was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lookalike_indexer.collection.manifest import SourceEntry


@dataclass(frozen=True)
class SourceRow:
    """An image of a source.

    `uri` is relative to the source's root folder where that is possible;
    `collection.uris.absolute` makes it what `fetch` reads. It is the path of a
    file, or "FILE#KEY" for a member of a Parquet, tar or zip file. It is empty
    when the image cannot be reached at all. `bytes` and `modified_ns` are the length and the time of the file
    that holds it: when they change, so did the image.
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
        """How many entries the latest `rows()` or `keys()` left out so far, by kind, such as "hidden"."""
        ...

    @property
    def unreadable_folders(self) -> list[str]:
        """Relative paths of the folders and shards among these that could not be read; their images are unknown."""
        ...

    @property
    def entry(self) -> SourceEntry:
        """What the manifest says about the source."""
        ...

    def keys(self) -> Iterator[str] | None:
        """The keys, in order, when two of them could be equal; None when they cannot."""
        ...

    def rows(self) -> Iterator[SourceRow]:
        """The images, in order, without reading any of them."""
        ...
