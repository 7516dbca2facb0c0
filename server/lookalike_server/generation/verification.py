"""Verification of files before they are served, and of their identity afterwards.

Every file of a new generation is verified before it replaces the served one. At startup nothing is
served yet, so files that loading does not read are verified later, or when a call first needs them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lookalike_indexer.collection.manifest import IndexEntry, Manifest
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Stamp, Storage
from lookalike_indexer.errors import DataLossError, IndexerError, NotFoundError
from lookalike_indexer.threads import processors
from lookalike_server.common.share import Share
from lookalike_server.generation.index_choice import chosen_indexes
from lookalike_server.generation.later_files import LaterFiles, needed_first, of_other_shards

# Hashing is not urgent; the concurrent searches are.
_NICENESS = 10


class FileVerifier:
    """Verifier that remembers verified files, so that a new generation costs only the hashing of new files."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Stamp] = {}
        self._ahead: threading.Thread | None = None
        self._abandoned = False

    def verify_ahead(self, root: str, indexes: Sequence[str] = (), share: Share | None = None) -> None:
        """Verify the files that are needed first, in the background, while the server imports its modules.

        `indexes` are the names of the indexes to search, as in `chosen_indexes`; `share` is the
        share of them. An error here occurs again, and is reported, when the generation is loaded.
        """
        self._ahead = threading.Thread(
            target=self._verify_newest, args=(root, indexes, share), name="verify ahead", daemon=True
        )
        self._ahead.start()

    def verified(
        self,
        reader: CollectionReader,
        but: Collection[str] = (),
        later: Collection[str] = (),
        unhurried: Collection[str] = (),
    ) -> CollectionReader:
        """Verify a generation and return a reader that reads only verified files.

        The files `but` are skipped, because nothing reads them. The files `later` are verified when
        they are first read, or by `later_files` of the reader's storage; those in `unhurried` only
        when they are read. Raises DataLossError if a file is missing, or is not what was written.
        """
        if self._ahead is not None:
            self._ahead.join()
            self._ahead = None
        later = frozenset(later).union(unhurried).difference(but)
        stamps = self._all_verified(reader, later.union(but))
        unread = {path: reader.storage.stamp(path) for path in later}
        files = LaterFiles(later, len(stamps), lambda path: self._verify_later(reader, path, unread[path]), unhurried)
        storage = VerifiedStorage(reader.storage, reader.manifest, {**stamps, **unread}, files)
        pinned = CollectionReader(storage, reader.manifest)
        pinned.hold(reader.storage)
        return pinned

    def abandon(self) -> None:
        """End the verification after the current file."""
        self._abandoned = True

    def _verify_newest(self, root: str, indexes: Sequence[str], share: Share | None) -> None:
        # RuntimeError: the process is exiting after a reported mistake, so no thread can be started.
        with contextlib.suppress(IndexerError, RuntimeError):
            reader = CollectionReader.open(root)
            later = self.later(reader, chosen_indexes(reader.manifest, indexes).values())
            self._all_verified(reader, later | (of_other_shards(reader.manifest, share) if share else frozenset()))

    @staticmethod
    def later(reader: CollectionReader, indexes: Iterable[IndexEntry]) -> frozenset[str]:
        """Return the files that need no verification before serving.

        None on an object store, which delivers all files.
        """
        if not reader.storage.is_local:
            return frozenset()
        needed = needed_first(reader.manifest, [path for entry in indexes for path in entry.index_files])
        return frozenset(reader.manifest.files.keys() - needed)

    def _verify_later(self, reader: CollectionReader, path: str, stamp: Stamp) -> None:
        try:
            is_same = self._verified_file(reader, path) == stamp == reader.storage.stamp(path)
        except NotFoundError as error:
            raise DataLossError(str(error)) from error
        if not is_same:
            raise _changed(reader.storage, path)
        self._found[path, reader.manifest.files[path].sha256] = stamp

    def _all_verified(self, reader: CollectionReader, but: Collection[str] = ()) -> dict[str, Stamp]:
        check_files(reader)
        files = reader.manifest.files
        # The largest first, so that no thread is left with a large file at the end.
        paths = sorted(files.keys() - set(but), key=lambda path: -files[path].bytes)
        with ThreadPoolExecutor(processors(), "verify", initializer=step_back) as pool:
            stamps = dict(zip(paths, pool.map(lambda path: self._verified_file(reader, path), paths), strict=True))
        self._found = {(path, files[path].sha256): stamp for path, stamp in stamps.items()}
        return stamps

    def _verified_file(self, reader: CollectionReader, path: str) -> Stamp:
        stamp = reader.storage.stamp(path)
        if self._abandoned:
            raise DataLossError(f"{path} was not verified: the server is stopping.")
        if self._found.get((path, reader.manifest.files[path].sha256)) != stamp:
            reader.verify(path)
        return stamp


class VerifiedStorage(Storage):
    """Storage that raises DataLossError if a file changed after its verification.

    A collection may be deleted and recreated while it is served, with the same file names.
    """

    def __init__(
        self, storage: Storage, manifest: Manifest, stamps: dict[str, Stamp], later: LaterFiles | None = None
    ) -> None:
        """`stamps` are those of the files, by path. Files in `later` are verified when they are first read."""
        super().__init__(storage.root)
        self._storage = storage
        self.later_files = later or LaterFiles((), len(stamps), lambda path: None)
        self._stamps = stamps
        self._digests = {path: manifest.files[path].sha256 for path in stamps}

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Stamps of the files that were, or will be, verified, by path."""
        return self._stamps

    @property
    def is_local(self) -> bool:
        return self._storage.is_local

    @property
    def location(self) -> str:
        return self._storage.location

    @property
    def name(self) -> str:
        return self._storage.name

    @property
    def scratch(self) -> Path:
        return self._storage.scratch

    def shown(self, path: str) -> str:
        return self._storage.shown(path)

    def stamp(self, path: str) -> Stamp:
        return self._storage.stamp(path)

    def exists(self, path: str) -> bool:
        return self._storage.exists(path)

    def read(self, path: str) -> bytes:
        self.later_files.require(path)
        return self._storage.read(path)

    def list(self, folder: str) -> list[str]:
        return self._storage.list(folder)

    def sizes(self, folder: str) -> dict[str, int]:
        return self._storage.sizes(folder)

    def walk(self) -> Iterator[str]:
        return self._storage.walk()

    def prefetch(self, paths: Iterable[str]) -> None:
        self._storage.prefetch(paths)

    def digest(self, path: str) -> str:
        """Return what Storage.digest does, without rereading an unchanged verified file."""
        if path not in self._stamps:
            return self._storage.digest(path)
        self.local(path)
        return self._digests[path]

    def local(self, path: str) -> Path:
        """Return what Storage.local does. Raises DataLossError if the file is gone or was replaced."""
        verified = self._stamps.get(path)
        if verified is not None:
            try:
                now = self.stamp(path)
            except NotFoundError as error:
                raise DataLossError(str(error)) from error
            if now != verified:
                raise _changed(self, path)
            self.later_files.require(path)
        return self._storage.local(path)


def check_files(reader: CollectionReader) -> None:
    """Raise DataLossError if a file of the generation is missing or has the wrong length. This check is fast."""
    sizes: dict[str, dict[str, int]] = {}
    for path, entry in reader.manifest.files.items():
        folder, _, name = path.rpartition("/")
        # One listing per folder, because each request to an object store takes some milliseconds.
        if folder not in sizes:
            sizes[folder] = reader.storage.sizes(folder)
        size = sizes[folder].get(name)
        if size is None:
            raise DataLossError(f"{reader.storage.shown(path)} is missing from the collection.")
        if size != entry.bytes:
            raise DataLossError(
                f"{reader.storage.shown(path)} has {size} bytes and the manifest says {entry.bytes}: it is not what "
                "was written."
            )


def _changed(storage: Storage, path: str) -> DataLossError:
    return DataLossError(f"{storage.shown(path)} was replaced or changed since this generation was loaded.")


def step_back() -> None:
    """Lower the priority of this thread."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
