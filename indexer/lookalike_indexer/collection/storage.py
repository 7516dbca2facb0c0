"""Storage interface through which all files of a collection are read and written.

Every path is relative to the collection's root and uses "/". A file is written completely under a temporary name,
synced and then renamed, so that a file under its final name is always complete. A generation is published by one
exclusive, rename-like step that can happen only once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lookalike_indexer.errors import CollectionLockedError, DataLossError, IndexerError, NotFoundError

_TEMPORARY = ".tmp-"
_LEFTOVER = re.compile(r"\.tmp-[0-9a-f]{8}-.+")
_CHUNK = 1 << 23
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Errors of file systems without hard links, such as exFAT and some network mounts.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Stamp(NamedTuple):
    """The identity of a file's content: a file that replaces another under the same name has another stamp."""

    inode: int
    bytes: int
    modified_ns: int


class Storage:
    """A collection's files on a local disk; see objects/storage.py for object stores.

    Raise DataLossError if a disk cannot read a file. Raise IndexerError if the system refuses to read or write.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def __getstate__(self) -> dict[str, Any]:
        # Another process may have another working directory.
        return {"root": self.root.absolute()}

    @property
    def is_local(self) -> bool:
        """Return whether the files are on a disk that supports locks and appending."""
        return True

    @property
    def location(self) -> str:
        """The folder or URL of the collection, as the user gave it."""
        return str(self.root)

    @property
    def name(self) -> str:
        """The last part of the location."""
        return self.root.resolve().name

    def shown(self, path: str) -> str:
        """Return a file's location for messages."""
        return str(self.local(path))

    @property
    def scratch(self) -> Path:
        """A local folder for temporary files, on the disk that has room for the collection."""
        return self.root

    def local(self, path: str) -> Path:
        """Return a local path to read from: pyarrow and faiss open files by name.

        Raise DataLossError if it leads out of the root.
        """
        inside = PurePosixPath(path)
        if inside.is_absolute() or ".." in inside.parts:
            raise DataLossError(f"{path!r} is outside the collection {self.root}; its manifest was edited.")
        return self.root / inside

    def prefetch(self, paths: Iterable[str]) -> None:
        """Prepare files that are about to be read; a local disk needs no preparation."""

    def exists(self, path: str) -> bool:
        with _reading(self._at(path)) as local:
            return local.is_file()

    def size(self, path: str) -> int:
        """Return the length of a file in bytes; NotFoundError if there is none."""
        return self.stamp(path).bytes

    def stamp(self, path: str) -> Stamp:
        """Return the stamp of a file; NotFoundError if there is none."""
        with _reading(self._at(path)) as local:
            found = local.stat()
        return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)

    def list(self, folder: str) -> list[str]:
        """Return the names of the complete files directly in a folder, sorted."""
        try:
            with _reading(self.local(folder)) as local:
                names = [entry.name for entry in os.scandir(local) if entry.is_file()]
        except NotFoundError:
            return []
        return sorted(name for name in names if not name.startswith(_TEMPORARY))

    def walk(self) -> Iterator[str]:
        """Yield the paths of all complete files, including foreign ones, in no particular order."""
        with _reading(self.root):
            for folder, _, names in os.walk(self.root, onerror=_raise):
                for name in names:
                    if not name.startswith(_TEMPORARY):
                        yield (Path(folder) / name).relative_to(self.root).as_posix()

    def read(self, path: str) -> bytes:
        with _reading(self.local(path)) as local:
            return local.read_bytes()

    @contextmanager
    def staged(self, path: str) -> Iterator[Path]:
        """Yield a temporary local path; on exit, the written file becomes `path`.

        If the block raises, nothing appears under the final name.
        """
        final = self.local(path)
        with _temporary(final) as temporary:
            yield temporary
            _sync_file(temporary)
            os.replace(temporary, final)
            _sync_folder(final.parent)

    def publish(self, path: str, data: bytes) -> None:
        """Create `path` with these bytes. Raise CollectionLockedError if it already exists."""
        final = self.local(path)
        with _temporary(final) as temporary:
            temporary.write_bytes(data)
            _sync_file(temporary)
            if not _linked(temporary, final):
                raise CollectionLockedError(f"{final} was published by another process; run the command again.")
            _sync_folder(final.parent)

    def settle(self, paths: Iterable[str]) -> None:
        """Ensure that the names of these files survive a power loss.

        A file is synced with its folder. This syncs the folders above as well, which may be new, and those that a
        failed run left unsynced.
        """
        folders = {self.root / folder for path in paths for folder in PurePosixPath(path).parents}
        with _writing(self.root):
            # Sync the deepest folders first, so that no name is durable before the folder that it leads to.
            for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
                _sync_folder(folder)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the length in bytes of each complete file directly in a folder, by name; empty without a folder."""
        try:
            with _reading(self.local(folder)) as local, os.scandir(local) as entries:
                return {
                    entry.name: entry.stat().st_size
                    for entry in entries
                    if not entry.name.startswith(_TEMPORARY) and entry.is_file()
                }
        except NotFoundError:
            return {}

    def rename(self, path: str, other: str) -> None:
        """Rename a file, replacing the target if it exists."""
        before, after = self.local(path), self.local(other)
        with _writing(after):
            os.replace(before, after)
            _sync_folder(after.parent)

    def remove(self, path: str) -> None:
        """Remove a file if it exists, and then the folders that are empty."""
        local = self.local(path)
        with _writing(local, "removed"):
            local.unlink(missing_ok=True)
            for folder in local.parents:
                if folder == self.root or not _removed(folder):
                    break

    def clear(self, folder: str) -> None:
        """Remove all files below a folder of the collection if it exists."""
        local = self.local(folder)
        if local.is_dir():
            for path in [path for path in local.rglob("*") if path.is_file()]:
                self.remove(path.relative_to(self.root).as_posix())

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file, in hexadecimal; DataLossError if it is missing."""
        digest = hashlib.sha256()
        try:
            with _reading(self.local(path)) as local, local.open("rb", buffering=0) as file:
                chunk = memoryview(bytearray(min(_CHUNK, max(1, os.fstat(file.fileno()).st_size))))
                while size := file.readinto(chunk):
                    digest.update(chunk[:size])
        except NotFoundError as error:
            raise DataLossError(str(error)) from error
        return digest.hexdigest()

    def sweep(self) -> int:
        """Remove the temporary files that killed runs left; return their number. Only a writer may call it."""
        with _writing(self.root, "cleared of what a killed run left"):
            leftovers = [path for path in self.root.rglob(f"{_TEMPORARY}*") if _LEFTOVER.fullmatch(path.name)]
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)
        return len(leftovers)

    def _at(self, path: str) -> Path:
        return self.root / PurePosixPath(path)


@contextmanager
def _temporary(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`, removed afterwards; OSError becomes IndexerError."""
    temporary = final.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}-{final.name}")
    with _writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            # If this fails, the original error says more, and the next writer removes the file.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _linked(temporary: Path, final: Path) -> bool:
    """Give a file its final name, unless that exists; return whether it did."""
    try:
        # A hard link, unlike a rename, fails if the name exists: only one of two writers can publish a generation.
        os.link(temporary, final)
    except FileExistsError:
        # A network file system may have retried a request that had succeeded.
        return temporary.samefile(final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without hard links only the collection's lock separates two writers.
        if final.exists():
            return False
        os.replace(temporary, final)
    return True


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            return False
        raise
    return True


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    try:
        yield path
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} is missing from the collection.") from error
    except OSError as error:
        kind = DataLossError if error.errno == errno.EIO else IndexerError
        raise kind(f"{path} cannot be read: {_reason(error)}.") from error


@contextmanager
def _writing(path: Path, what: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mend = "; free some space, then run the command again" if error.errno in _FULL else ""
        raise IndexerError(f"{path} could not be {what}: {_reason(error)}{mend}.") from error


def _raise(error: OSError) -> None:
    raise error


def _reason(error: OSError) -> str:
    # pyarrow raises OSError with its own sentences instead of the system's.
    return os.strerror(error.errno) if error.errno else str(error)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
