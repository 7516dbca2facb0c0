"""A directory of images: every picture below it, with the first subfolder as its label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.sources.row import SourceRow

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"})
# How files of these formats begin. WebP is checked apart: its mark is split.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")


class DirectorySource:
    """Every picture below a folder, by ascending name within each folder.

    Pictures are known by their extension, whatever its case; a file without
    one by its first bytes. Hidden files and folders are left out. Symbolic
    links are followed, except those that lead back to a folder above them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.left_out: dict[str, int] = {}
        self.unreadable_folders: list[str] = []

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry("directory", str(self.root))

    def keys(self) -> None:
        """None: a directory has each path once."""

    def rows(self) -> Iterator[SourceRow]:
        """The pictures; IndexerError when a folder cannot be read."""
        yield from self._below(self.root, "", None, frozenset())

    def _below(
        self, folder: Path, prefix: str, label: str | None, above: frozenset[tuple[int, int]]
    ) -> Iterator[SourceRow]:
        try:
            status = folder.stat()
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise IndexerError(f"The folder {printable(str(folder))} cannot be read: {error.strerror}.") from error
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        for name in names:
            if name.startswith("."):
                continue
            path = folder / name
            if path.is_dir():
                yield from self._below(path, f"{prefix}{name}/", label or printable(name), above | {here})
            elif is_picture(path):
                yield _row(path, f"{prefix}{name}", label)


def _row(path: Path, key: str, label: str | None) -> SourceRow:
    try:
        status = path.stat()
        length, modified = status.st_size, status.st_mtime_ns
    except OSError:
        # A broken link or a file that went meanwhile: reading it will say so.
        length, modified = 0, 0
    readable = printable(key)
    return SourceRow(readable, label, key if readable == key else "", length, modified)


def is_picture(path: Path) -> bool:
    """Whether a file is taken for a picture, by its extension or, without one, by its first bytes."""
    if path.suffix:
        return path.suffix.lower() in EXTENSIONS
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def printable(name: str) -> str:
    r"""A file name as text: bytes that are not UTF-8 become \xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
