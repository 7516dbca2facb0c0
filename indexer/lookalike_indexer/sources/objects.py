"""A prefix of an object store as a source: every image below it, in the order of a folder with the same files."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.objects.store import StoreLocation, open_location, store_errors
from lookalike_indexer.errors import DecodeError, IndexerError, NotFoundError
from lookalike_indexer.sources.exclusion import Exclusion
from lookalike_indexer.sources.image_files import (
    EXTENSIONS,
    HEAD,
    is_image_header,
    is_known,
    other_kind,
    suffix_of,
)
from lookalike_indexer.sources.row import SourceRow


class ObjectSource:
    """Every image below a URL such as s3://bucket/photos, by ascending name within each folder.

    Names are split into folders at "/". Images are recognized as in a folder: by their suffix, or by their first bytes
    if the suffix is unknown.
    """

    def __init__(self, url: str, exclude: Sequence[str] = ()) -> None:
        """Open a source.

        Raise UsageError if the URL has no known scheme, or a pattern is not valid gitignore syntax.
        """
        self._location: StoreLocation = open_location(url)
        self._exclusion = Exclusion(exclude)
        self.left_out: dict[str, int] = {}
        self.unreadable_folders: list[str] = []

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry("directory", self._location.url, list(self._exclusion.patterns))

    def keys(self) -> None:
        """Return None: the names in a store are unique."""

    def rows(self) -> Iterator[SourceRow]:
        """Yield the images.

        Raise NotFoundError if nothing exists there. Raise IndexerError if the store cannot be read.
        """
        self.left_out, self.unreadable_folders = {}, []
        is_empty = True
        stack = [self._entries("")]
        while stack:
            if not stack[-1]:
                stack.pop()
                continue
            is_empty = False
            name, path, meta = stack[-1].pop()
            if self._is_excluded(name, path, meta is None):
                continue
            if meta is None:
                stack.append(self._entries(f"{path}/"))
            elif self._is_picture(name, path):
                folder, _, rest = path.partition("/")
                modified = int(meta["last_modified"].timestamp() * 1_000_000) * 1000
                yield SourceRow(path, folder if rest else None, path, int(meta["size"]), modified)
        if is_empty:
            raise NotFoundError(f"There is nothing below {self._location.url}; correct the bucket or the prefix.")

    def _entries(self, prefix: str) -> list[tuple[str, str, Any]]:
        """Return the entries directly below a prefix, last name first: name, path, and the store's metadata, None for
        folders.
        """
        with store_errors(f"{self._location.url}/{prefix}", self._location.url):
            listed: Any = self._location.store.list_with_delimiter(self._location.path(prefix) or None)
        entries: list[tuple[str, str, Any]] = []
        for folder in listed["common_prefixes"]:
            path = self._location.name(str(folder).rstrip("/"))
            entries.append((path.rpartition("/")[2], path, None))
        for meta in listed["objects"]:
            path = self._location.name(str(meta["path"]))
            # Some stores keep an empty object for the folder itself.
            if str(meta["path"]) in (self._location.prefix, self._location.path(prefix.rstrip("/"))):
                continue
            entries.append((path.rpartition("/")[2], path, meta))
        return sorted(entries, key=lambda entry: entry[0], reverse=True)

    def _is_excluded(self, name: str, path: str, is_folder: bool) -> bool:
        if self._exclusion.excludes(path, name, is_folder):
            self._leave_out("excluded")
        elif name.startswith("."):
            self._leave_out("hidden")
        else:
            return False
        return True

    def _is_picture(self, name: str, path: str) -> bool:
        suffix = suffix_of(name)
        if suffix in EXTENSIONS:
            return True
        if not is_known(suffix) and is_image_header(self._head(path)):
            return True
        self._leave_out(other_kind(suffix))
        return False

    def _head(self, path: str) -> bytes:
        try:
            with store_errors(f"{self._location.url}/{path}", self._location.url):
                return bytes(self._location.store.get_range(self._location.path(path), start=0, length=HEAD))
        except IndexerError:
            # An empty object has no range. An unreadable one is reported when it is embedded.
            return b""

    def _leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1


def read_object(url: str, max_bytes: int) -> bytes:
    """Return the bytes of an object by its URL, as `Fetcher.fetch` does for a file."""
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    try:
        location = _bucket(f"{scheme}://{bucket}")
        with store_errors(url, location.bucket):
            found = location.store.get(path)
            if found.meta["size"] > max_bytes:
                # One byte more than the limit: the caller detects that by the length.
                return bytes(max_bytes + 1)
            return bytes(found.bytes())
    except NotFoundError as error:
        raise DecodeError("there is no such object", kind="missing") from error
    except IndexerError as error:
        raise DecodeError(f"the object cannot be read: {error}", kind="unreadable") from error


@functools.lru_cache(maxsize=16)
def _bucket(url: str) -> StoreLocation:
    return open_location(url)
