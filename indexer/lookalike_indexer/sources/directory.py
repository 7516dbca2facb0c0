"""A directory of images: every image below it, with the first subfolder as its label."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import IndexerError
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

_LOOKED_AT = 100


class DirectorySource:
    """Every image below a folder, by ascending name within each folder.

    Images are recognized by their suffix in any case; files with an unknown suffix by their first bytes. Each folder is
    visited once: symbolic links to folders come last, after the real folders, and links to a visited folder are left
    out.
    """

    def __init__(self, root: Path, exclude: Sequence[str] = ()) -> None:
        """Create a source. Raise UsageError if a pattern of `exclude` is not valid gitignore syntax."""
        self.root = root.resolve()
        self.left_out: dict[str, int] = {}
        self.unreadable_folders: list[str] = []
        self._exclusion = Exclusion(exclude)

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry("directory", str(self.root), list(self._exclusion.patterns))

    def keys(self) -> None:
        """Return None: the paths of a directory are unique."""

    def rows(self) -> Iterator[SourceRow]:
        """Yield the images. Raise IndexerError if the folder itself cannot be read."""
        for key, status in self.files():
            readable = printable(key)
            folder, _, _ = readable.partition("/")
            label = folder if len(folder) < len(readable) else None
            length, modified = (status.st_size, status.st_mtime_ns) if status else (0, 0)
            yield SourceRow(readable, label, key if readable == key else "", length, modified)

    def files(self, suffixes: frozenset[str] = EXTENSIONS) -> Iterator[_File]:
        """Yield the relative path of each image, or of each file with other `suffixes`; the status of a broken link is
        None.
        """
        self.left_out, self.unreadable_folders = {}, []
        yield from _Walk(self, self._exclusion, suffixes).files()

    def has_picture(self) -> bool:
        """Return whether there is any image; fast if one is directly in the folder."""
        with contextlib.suppress(OSError), os.scandir(self.root) as entries:
            for entry in islice(entries, _LOOKED_AT):
                known = suffix_of(entry.name) in EXTENSIONS and not entry.name.startswith(".")
                if known and entry.is_file() and not self._exclusion.excludes(entry.name, entry.name):
                    return True
        try:
            return next(self.files(), None) is not None
        except IndexerError:
            return True  # `rows` reports the error

    def leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1


_Entries = list[os.DirEntry[str]]
_File = tuple[str, os.stat_result | None]


class _Walk:
    """One traversal of the folders."""

    def __init__(self, source: DirectorySource, exclusion: Exclusion, suffixes: frozenset[str]) -> None:
        self._source, self._exclusion, self._suffixes = source, exclusion, suffixes
        self._visited: set[tuple[int, int]] = set()
        # The root, and the linked folders that are still to be visited, as prefixes of relative paths.
        self._roots: deque[str] = deque([""])

    def files(self) -> Iterator[_File]:
        while self._roots:
            prefix = self._roots.popleft()
            # A stack instead of recursion: folders may be nested deeper than Python's recursion limit.
            stack = [(prefix, self._entries(prefix))]
            while stack:
                prefix, entries = stack[-1]
                if not entries:
                    stack.pop()
                    continue
                # Remove the entry from the list, so that its cached file status is released.
                entry = entries.pop()
                path = prefix + entry.name
                file = None
                try:
                    is_folder = entry.is_dir()
                    if self._is_excluded(entry, path, is_folder):
                        continue
                    if not is_folder:
                        file = self._file(entry, path)
                    elif entry.is_symlink():
                        self._roots.append(f"{path}/")
                    else:
                        stack.append((f"{path}/", self._entries(f"{path}/")))
                except OSError:
                    self._source.leave_out("unreadable file")
                if file:
                    yield file

    def _entries(self, prefix: str) -> _Entries:
        """Return the entries of a folder, last name first; empty if it cannot be read or was visited."""
        folder = f"{self._source.root}/{prefix}"
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in self._visited:
                self._source.leave_out("linked folder seen before")
                return []
            with os.scandir(folder) as found:
                entries = sorted(found, key=attrgetter("name"), reverse=True)
        except OSError as error:
            self._unreadable(prefix, error)
            return []
        self._visited.add((status.st_dev, status.st_ino))
        return entries

    def _is_excluded(self, entry: os.DirEntry[str], path: str, is_folder: bool) -> bool:
        if self._exclusion.excludes(path, entry.name, is_folder):
            self._source.leave_out("excluded")
        elif entry.name.startswith("."):
            self._source.leave_out("hidden")
        else:
            return False
        return True

    def _file(self, entry: os.DirEntry[str], path: str) -> _File | None:
        """Return the file of an entry, None if it is left out."""
        suffix = suffix_of(entry.name)
        if suffix in self._suffixes:
            status = _status(entry)
            if status is None or stat.S_ISREG(status.st_mode):
                return path, status
            self._source.leave_out("FIFO or device")
        elif not entry.is_file():
            self._source.leave_out("broken link" if entry.is_symlink() else "FIFO or device")
        elif not is_known(suffix) and self._suffixes is EXTENSIONS and is_image_header(_head(entry.path)):
            return path, _status(entry)
        else:
            self._source.leave_out(other_kind(suffix))
        return None

    def _unreadable(self, prefix: str, error: OSError) -> None:
        if not prefix:
            raise IndexerError(
                f"The folder {printable(str(self._source.root))} cannot be read: {error.strerror}."
            ) from error
        self._source.leave_out("unreadable folder")
        self._source.unreadable_folders.append(printable(prefix.rstrip("/")))


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of a file; None for a broken link or a removed file, whose reading will report the error."""
    try:
        return entry.stat()
    except OSError:
        return None


def _head(path: str) -> bytes:
    # Nonblocking: a FIFO that replaced the file must not block the run.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        return file.read(HEAD) or b""


def printable(name: str) -> str:
    r"""Return a file name as text: bytes that are not UTF-8 become \xNN."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")
