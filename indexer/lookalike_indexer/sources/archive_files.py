"""Members of tar and zip files, listed and read without unpacking."""

from __future__ import annotations

import contextlib
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np

from lookalike_indexer.errors import DecodeError, IndexerError
from lookalike_indexer.sources.directory import printable
from lookalike_indexer.sources.image_files import suffix_of
from lookalike_indexer.sources.keytable import KeyTable

_DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Member:
    """A member of an archive.

    `key` is its printable name without "./"; `place` locates its bytes. `reachable` is false if its name is not valid
    UTF-8.
    """

    key: str
    kind: Literal["file", "folder", "link", "device"]
    size: int
    place: int | zipfile.ZipInfo
    reachable: bool = True


class Archive(Protocol):
    """An open archive."""

    def members(self) -> Iterator[Member]:
        """Yield all members, those of a sample consecutively. Raise IndexerError if the archive is damaged."""
        ...

    def content(self, member: Member, max_bytes: int) -> bytes:
        """Return the first `max_bytes` of a member. Raise DecodeError if they cannot be read."""
        ...

    def read(self, key: str, max_bytes: int) -> bytes:
        """Return a whole member; DecodeError as in `fetch`."""
        ...

    def close(self) -> None: ...


def open_archive(path: str) -> Archive:
    """Open a tar or zip file, recognized by its suffix. Raise IndexerError for any other file."""
    return ZipArchive(path) if suffix_of(path) == ".zip" else TarArchive(path)


class TarArchive:
    """An uncompressed tar file; its members are read by their offsets."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115  # closed by `close`
        except OSError as error:
            raise _unreadable(path, error) from error
        self._index: tuple[KeyTable, np.ndarray, np.ndarray] | None = None

    def members(self) -> Iterator[Member]:
        try:
            with tarfile.open(self._path, "r:") as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # otherwise tarfile keeps all of them
                    yield _tar_member(info)
        except (tarfile.TarError, *_DAMAGED) as error:
            raise _unreadable(self._path, error) from error

    def content(self, member: Member, max_bytes: int) -> bytes:
        # The place of a tar member is its offset.
        return self._at(cast("int", member.place), min(member.size, max_bytes))

    def read(self, key: str, max_bytes: int) -> bytes:
        keys, places, sizes = self._index or self._indexed()
        number = int(keys.find([key])[0])
        if number < 0:
            raise _missing(key)
        _check_size(int(sizes[number]), max_bytes)
        return self._at(int(places[number]), int(sizes[number]))

    def close(self) -> None:
        self._file.close()

    def _indexed(self) -> tuple[KeyTable, np.ndarray, np.ndarray]:
        """Index the offset of each file, in 40 bytes each."""
        places: list[tuple[int, int]] = []

        def keys() -> Iterator[str]:
            for member in self.members():
                if member.kind == "file" and member.reachable:
                    places.append((member.place, member.size))  # type: ignore[arg-type]
                    yield member.key

        try:
            table = KeyTable(keys())
        except IndexerError as error:
            raise DecodeError(str(error), kind="unreadable") from error
        found = np.array(places, np.int64).reshape(-1, 2)
        self._index = table, found[:, 0].copy(), found[:, 1].copy()
        return self._index

    def _at(self, place: int, size: int) -> bytes:
        try:
            data = os.pread(self._file.fileno(), size, place)
        except OSError as error:
            raise DecodeError("the member of the archive cannot be read", kind="unreadable") from error
        if len(data) < size:
            raise DecodeError("the archive ends within the member")
        return data


class ZipArchive:
    """A zip file; a member is decompressed only up to the size limit."""

    def __init__(self, path: str) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (NotImplementedError, *_DAMAGED) as error:
            raise _unreadable(path, error) from error

    def members(self) -> Iterator[Member]:
        for info in sorted(self._zip.infolist(), key=lambda info: _key(info.filename)):
            mode = info.external_attr >> 16
            is_link = mode & 0o170000 == 0o120000
            kind: Literal["file", "folder", "link"] = "folder" if info.is_dir() else "link" if is_link else "file"
            yield Member(_key(info.filename), kind, info.file_size, info)

    def content(self, member: Member, max_bytes: int) -> bytes:
        # The place of a zip member is its ZipInfo.
        return self._first(cast("zipfile.ZipInfo", member.place), max_bytes)

    def read(self, key: str, max_bytes: int) -> bytes:
        for name in (key, f"./{key}"):
            if info := self._zip.NameToInfo.get(name):
                _check_size(info.file_size, max_bytes)
                return self._first(info, max_bytes + 1)
        raise _missing(key)

    def close(self) -> None:
        self._zip.close()

    def _first(self, info: zipfile.ZipInfo, max_bytes: int) -> bytes:
        if info.flag_bits & _ENCRYPTED:
            raise DecodeError("the member of the archive is encrypted; unpack the archive", kind="unreadable")
        try:
            with self._zip.open(info) as file:
                # `read` of a zip member may return fewer bytes than requested.
                return io.BufferedReader(file).read(max_bytes)  # type: ignore[type-var]
        except NotImplementedError as error:
            raise DecodeError(
                "the member of the archive has an unknown compression; unpack the archive", kind="unreadable"
            ) from error
        except _DAMAGED as error:
            raise DecodeError("the member of the archive is damaged", kind="unreadable") from error


def _tar_member(info: tarfile.TarInfo) -> Member:
    key = _key(info.name)
    if info.isdir():
        return Member(key, "folder", 0, 0)
    if info.isreg() and not info.issparse():
        return Member(key, "file", info.size, info.offset_data, key == _key_as_is(info.name))
    return Member(key, "link" if info.issym() or info.islnk() else "device", 0, 0)


def _key(name: str) -> str:
    return printable(_key_as_is(name))


def _key_as_is(name: str) -> str:
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DecodeError(f"the image has {size:,} bytes, more than the {max_bytes:,} that are allowed", kind="limit")


def _missing(key: str) -> DecodeError:
    return DecodeError(f"the archive has no member {key!r}", kind="missing")


def _unreadable(path: str, error: BaseException) -> IndexerError:
    kind = "zip" if suffix_of(path) == ".zip" else "tar"
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if kind == "tar" and _is_compressed(path):
        reason = "it is compressed, whatever its name says; decompress it to a .tar first"
    return IndexerError(f"{path} cannot be read as a {kind} file: {reason}")


def _is_compressed(path: str) -> bool:
    """Return whether a file has the magic bytes of gzip, bzip2, xz or Zstandard."""
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
    return False
