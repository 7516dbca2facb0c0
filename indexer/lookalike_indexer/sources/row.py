"""One image of a source, before anything of it was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lookalike_indexer.collection.manifest import SourceEntry


@dataclass(frozen=True)
class SourceRow:
    """An image of a source.

    `uri` is what `fetch` reads; it is empty when the image cannot be reached
    at all. `bytes` and `modified_ns` are the length and the time of the file
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
    def entry(self) -> SourceEntry:
        """What the manifest says about the source."""
        ...

    def keys(self) -> Iterator[str] | None:
        """The keys, in order, when two of them could be equal; None when they cannot."""
        ...

    def rows(self) -> Iterator[SourceRow]:
        """The images, in order, without reading any of them."""
        ...
