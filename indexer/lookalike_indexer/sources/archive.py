"""A tar or zip file of images, such as a shard of a WebDataset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.sources.archive_files import Archive, Member, open_archive
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

_LABEL_FIELDS = ("label_name", "class_name", "label", "class", "cls", "category")
_LARGEST_LABEL = 1 << 20


class ArchiveSource:
    """The images of a tar file, in its order, or of a zip file, by name. The key is the member's name.

    The label is that of the file KEY.cls or KEY.json (its field "label", "class", "cls" or "category") beside KEY.jpg,
    else the first folder. Captions (KEY.txt) are not labels. Members that are left out are counted.
    """

    def __init__(self, path: Path, exclude: Sequence[str] = ()) -> None:
        """Open an archive.

        Raise IndexerError if it is not a tar or zip file. Raise UsageError for an invalid pattern.
        """
        self.path = path.resolve()
        self.left_out: dict[str, int] = {}
        self.unreadable_folders: list[str] = []
        self._exclusion = Exclusion(exclude)
        self._kind: Literal["tar", "zip"] = "zip" if suffix_of(path.name) == ".zip" else "tar"
        open_archive(str(self.path)).close()

    @property
    def entry(self) -> SourceEntry:
        return SourceEntry(self._kind, str(self.path), list(self._exclusion.patterns))

    def keys(self) -> Iterator[str]:
        """Yield the keys, in order: a tar file may have a name twice. Raise IndexerError if the file is damaged."""
        for key, _, _ in self._pictures():
            yield key

    def rows(self) -> Iterator[SourceRow]:
        status = os.stat(self.path)
        for key, label, reachable in self._pictures():
            uri = f"{self.path.name}#{key}" if reachable else ""
            yield SourceRow(key, label, uri, status.st_size, status.st_mtime_ns)

    def _pictures(self) -> Iterator[tuple[str, str | None, bool]]:
        """Yield the key and label of each image, and whether it can be read."""
        self.left_out = {}
        archive = open_archive(str(self.path))
        try:
            for _, members in groupby(archive.members(), key=_sample):
                yield from self._of_sample(archive, members)
        finally:
            archive.close()

    def _of_sample(self, archive: Archive, members: Iterator[Member]) -> Iterator[tuple[str, str | None, bool]]:
        pictures, label = [], None
        for member in members:
            if not self._is_included(member):
                continue
            suffix = suffix_of(member.key)
            if _is_picture(archive, member, suffix):
                pictures.append(member)
            elif found := _label(archive, member, suffix):
                label = found if suffix == ".cls" else label or found
            else:
                self._leave_out(other_kind(suffix))
        for member in pictures:
            folder = member.key.split("/")[0] if "/" in member.key else None
            yield member.key, label or folder, member.reachable

    def _is_included(self, member: Member) -> bool:
        parts = member.key.split("/")
        if member.kind == "folder":
            return False
        if member.kind != "file":
            self._leave_out("link in an archive" if member.kind == "link" else "FIFO or device")
        elif self._exclusion.excludes_member(member.key):
            self._leave_out("excluded")
        elif not parts[0] or ".." in parts:
            self._leave_out("absolute path or .. in an archive")
        elif any(part.startswith(".") for part in parts):
            self._leave_out("hidden")
        else:
            return True
        return False

    def _leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1


def _sample(member: Member) -> tuple[str, str]:
    """Return what the files of a WebDataset sample share: the name up to the first dot."""
    folder, _, name = member.key.rpartition("/")
    return folder, name.partition(".")[0] or name


def _is_picture(archive: Archive, member: Member, suffix: str) -> bool:
    if is_known(suffix):
        return suffix in EXTENSIONS
    try:
        return is_image_header(archive.content(member, HEAD))
    except DecodeError:
        return False


def _label(archive: Archive, member: Member, suffix: str) -> str | None:
    """Return the label that a member holds, None if it holds none."""
    if suffix not in {".cls", ".json"} or member.size > _LARGEST_LABEL:
        return None
    try:
        text = archive.content(member, _LARGEST_LABEL).decode()
        if suffix == ".cls":
            return text.strip() or None
        fields = json.loads(text)
    except (DecodeError, ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    found = (fields.get(name) for name in _LABEL_FIELDS)
    return next((str(value) for value in found if isinstance(value, str | int) and not isinstance(value, bool)), None)
