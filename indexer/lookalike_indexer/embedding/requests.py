"""Requests to decoding workers for listed images, and the table rows of their results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from lookalike_indexer.collection.ahead import read_ahead
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.uris import stored
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.prepare import Expected, ImageRequest, Rejected
from lookalike_indexer.sources.container import is_remote
from lookalike_indexer.sources.fetch import Fetcher, is_contained

Row = dict[str, Any]
# Concurrent fetches from an object store, which takes some milliseconds each; each holds one encoded image.
_FETCHES = 32


class Described(Protocol):
    """The properties of a decoded image: bytes, format, size in pixels after EXIF rotation, and SHA-256."""

    @property
    def bytes(self) -> int: ...
    @property
    def format(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class ImageRequests:
    """Creates requests for listed rows. Reads containers in this process, because each worker would read them
    completely.
    """

    def __init__(self, source: SourceEntry | None, kept: str, max_bytes: int) -> None:
        """Create the factory. `source` and `kept` are as for PartEmbedder; an image of a container has at most
        `max_bytes`.
        """
        self._source, self._kept, self._max_bytes = source, kept, max_bytes
        self._fetcher = Fetcher()

    def close(self) -> None:
        """Close the containers."""
        self._fetcher.close()

    def stream(self, rows: Iterator[tuple[int, Row]]) -> Iterator[tuple[tuple[int, Row], ImageRequest]]:
        """Yield each numbered row with its request, in order; images of an object store are fetched concurrently."""
        if self._source and is_remote(self._source.uri):
            return read_ahead(lambda item: (item, self._request_of(item[1])), rows, _FETCHES)
        return ((item, self._request_of(item[1])) for item in rows)

    def _request_of(self, row: Row) -> ImageRequest:
        """Return the URI of a file, or the bytes of an image in a container, with its digest if known."""
        uri = stored(self._source, row["uri"], row["key"], self._kept) if self._source else row["uri"]
        image: str | bytes = uri
        if is_contained(uri):
            try:
                image = self._fetcher.fetch(uri, self._max_bytes)
            except DecodeError as error:
                return Rejected(str(error), error.kind)
        sha256 = row.get("sha256")
        return Expected(image, sha256) if sha256 else image


def image_row(row: Row, image: Described) -> Row:
    """Return the row of the images table for a listed row and its decoded image."""
    return {
        **row,
        "bytes": image.bytes,
        "format": image.format,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
    }


def reject_row(row: Row, image: Rejected) -> Row:
    """Return the row of the rejects table for a listed row whose image cannot be decoded."""
    return {**row, "reason": image.reason, "kind": image.kind}
