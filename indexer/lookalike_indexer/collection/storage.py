"""The one seam through which a collection's files are read and written.

Every path is relative to the collection's root and uses "/". Files are written
whole under a temporary name, synced and then renamed, so that a file under its
final name is always complete; a generation is published by one exclusive
rename-like step that can happen only once.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lookalike_indexer.errors import CollectionLockedError, DataLossError, IndexerError, NotFoundError

_TEMPORARY = ".tmp-"
_CHUNK = 1 << 20


class Storage:
    """A collection's files on a local disk."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def local(self, path: str) -> Path:
        """A local path to read from: pyarrow and faiss open files by name."""
        return self.root / PurePosixPath(path)

    def exists(self, path: str) -> bool:
        return self.local(path).is_file()

    def size(self, path: str) -> int:
        """The length of a file in bytes; NotFoundError when there is none."""
        try:
            return self.local(path).stat().st_size
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.local(path)} is missing from the collection.") from error

    def list(self, folder: str) -> list[str]:
        """The names of the complete files directly in a folder, sorted."""
        try:
            names = [entry.name for entry in os.scandir(self.local(folder)) if entry.is_file()]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith(_TEMPORARY))

    def read(self, path: str) -> bytes:
        try:
            return self.local(path).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.local(path)} is missing from the collection.") from error

    @contextmanager
    def staged(self, path: str) -> Iterator[Path]:
        """Yield a temporary local path; on leaving, what was written there becomes `path`.

        Nothing appears under the final name when the block raises.
        """
        final = self.local(path)
        with _temporary(final) as temporary:
            yield temporary
            _sync_file(temporary)
            os.replace(temporary, final)
            _sync_folder(final.parent)

    def publish(self, path: str, data: bytes) -> None:
        """Create `path` with these bytes, or raise CollectionLockedError when it exists already."""
        final = self.local(path)
        with _temporary(final) as temporary:
            temporary.write_bytes(data)
            _sync_file(temporary)
            try:
                # A hard link, unlike a rename, fails when the name is taken: of two
                # writers only one can publish a generation.
                os.link(temporary, final)
            except FileExistsError as error:
                raise CollectionLockedError(
                    f"{final} was published by another process meanwhile; run the command again."
                ) from error
            _sync_folder(final.parent)

    def digest(self, path: str) -> str:
        """The SHA-256 of a file, in hexadecimal."""
        digest = hashlib.sha256()
        try:
            with self.local(path).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except FileNotFoundError as error:
            raise DataLossError(f"{self.local(path)} is missing from the collection.") from error
        return digest.hexdigest()

    def sweep(self) -> int:
        """Remove the temporary files that killed runs left; returns how many. Only a writer may call it."""
        leftovers = list(self.root.rglob(f"{_TEMPORARY}*")) if self.root.is_dir() else []
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        return len(leftovers)


@contextmanager
def _temporary(final: Path) -> Iterator[Path]:
    """A name beside `final` that nothing is left under; what the system refuses becomes an IndexerError."""
    temporary = final.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}-{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise IndexerError(f"{final} could not be written: {error.strerror or error}.") from error


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
