"""Storage of a collection on an object store, with the same interface as in a folder."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from lookalike_indexer.collection.objects.cache import Cache
from lookalike_indexer.collection.objects.checks import check_creates_once
from lookalike_indexer.collection.objects.lease import Lease
from lookalike_indexer.collection.objects.store import StoreLocation, open_location, store_errors
from lookalike_indexer.collection.storage import Stamp, Storage
from lookalike_indexer.errors import CollectionLockedError, DataLossError, IndexerError, NotFoundError

# Prefixes of coordination objects, which do not belong to a collection's own paths.
COORDINATION = (".lease/", ".holds/", ".probe/")
_FETCHES = 16


class ObjectStorage(Storage):
    """A collection's objects below a URL such as s3://bucket/collection.

    Objects that are read are fetched once into a local cache, keyed by the store's version (ETag). An object is always
    complete or absent, so no temporary names are needed. Errors are those of `Storage`.
    """

    def __init__(self, url: str, cache: Cache | None = None) -> None:
        """Open a store. Raise UsageError if the URL has no known scheme."""
        self._location: StoreLocation = open_location(url)
        super().__init__(self._location.url)
        self._cache = cache or Cache(self._location.url)
        self._lock = threading.Lock()
        # Cached listings: the stamp and version of each object, and the listed folders.
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._listed: set[str] = set()
        self._lease: Lease | None = None
        self._probed = False

    def __reduce__(self) -> tuple[Callable[..., ObjectStorage], tuple[str, int | None]]:
        return _reopened, (self.location, self._lease.number if self._lease else None)

    @property
    def is_local(self) -> bool:
        return False

    @property
    def location(self) -> str:
        return self._location.url

    @property
    def name(self) -> str:
        return self._location.prefix.rpartition("/")[2] or self._location.bucket.rpartition("/")[2]

    @property
    def store_location(self) -> StoreLocation:
        return self._location

    @property
    def scratch(self) -> Path:
        self._cache.folder.mkdir(parents=True, exist_ok=True)
        return self._cache.folder

    def shown(self, path: str) -> str:
        return f"{self.location}/{path}"

    def local(self, path: str) -> Path:
        """Return the cached copy of an object; NotFoundError if there is none."""
        _, version = self._described(path)
        return self._cache.fetched(path, version, lambda temporary: self._fetch(path, temporary))

    def prefetch(self, paths: Iterable[str]) -> None:
        """Fetch objects that are about to be read, several at a time. A failure is reported when the object is read."""

        def fetch(path: str) -> None:
            with contextlib.suppress(IndexerError):
                self.local(path)

        with ThreadPoolExecutor(_FETCHES, "prefetch") as pool:
            list(pool.map(fetch, paths))

    def exists(self, path: str) -> bool:
        _inside(path)
        folder = _folder(path)
        with self._lock:
            is_listed = self._lease is not None and folder in self._listed
            known = path in self._known
        if known or is_listed:
            return known
        # A writer lists a folder once and then knows its contents, because it is the only writer.
        if self._lease is not None:
            self._list(folder)
            return path in self._known
        try:
            self._head(path)
        except NotFoundError:
            return False
        return True

    def stamp(self, path: str) -> Stamp:
        return self._described(path)[0]

    def list(self, folder: str) -> list[str]:
        return sorted(self._list(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        return {name: stamp.bytes for name, stamp in self._list(folder).items()}

    def walk(self) -> Iterator[str]:
        prefix = f"{self._location.prefix}/" if self._location.prefix else None
        with store_errors(self.location, self.location):
            for chunk in self._location.store.list(prefix):
                for meta in chunk:
                    name = self._location.name(str(meta["path"]))
                    if not name.startswith(COORDINATION):
                        self._note(name, meta)
                        yield name

    def read(self, path: str) -> bytes:
        _inside(path)
        with self._store_errors(path):
            return bytes(self._location.store.get(self._location.path(path)).bytes())

    @contextmanager
    def staged(self, path: str) -> Iterator[Path]:
        _inside(path)
        self._require_lease()
        temporary = self._cache.temporary(path)
        try:
            yield temporary
            size = temporary.stat().st_size
            with self._store_errors(path):
                result: Any = self._location.store.put(self._location.path(path), temporary)
            version = str(result["e_tag"] or "")
            with self._lock:
                self._known.pop(path, None)
            self._described(path)
            if self._known[path][1] == version:
                self._cache.put(path, version, temporary)
            elif self.stamp(path).bytes != size:
                raise CollectionLockedError(
                    f"{self.shown(path)} was written by another process; run the command again."
                )
        finally:
            temporary.unlink(missing_ok=True)

    def publish(self, path: str, data: bytes) -> None:
        from obstore.exceptions import AlreadyExistsError

        _inside(path)
        self._require_lease()
        self.probe()
        try:
            with self._store_errors(path):
                self._location.store.put(self._location.path(path), data, mode="create")
        except AlreadyExistsError as error:
            # The response to a first attempt may have been lost, so that the retry found the object that it created.
            if self.read(path) != data:
                raise CollectionLockedError(
                    f"{self.shown(path)} was published by another process; run the command again."
                ) from error

    def probe(self) -> None:
        """Raise IndexerError if the store lets two writers create the same object; checked once, before the first
        publication.
        """
        if not self._probed:
            check_creates_once(self._location)
            self._probed = True

    def settle(self, paths: Iterable[str]) -> None:
        """Do nothing: an object is durable once the store has confirmed it."""

    def rename(self, path: str, other: str) -> None:
        self._require_lease()
        with self._store_errors(path):
            self._location.store.copy(self._location.path(path), self._location.path(other), overwrite=True)
            self._location.store.delete(self._location.path(path))
        self._forget(path)
        self._forget(other)
        self._head(other)

    def remove(self, path: str) -> None:
        _inside(path)
        with self._store_errors(path), contextlib.suppress(FileNotFoundError):
            self._location.store.delete(self._location.path(path))
        self._forget(path)

    def clear(self, folder: str) -> None:
        _inside(folder)
        paths: list[str] = []
        with store_errors(self.shown(folder), self.location):
            for chunk in self._location.store.list(f"{self._location.path(folder)}/"):
                paths += [str(meta["path"]) for meta in chunk]
            if paths:
                self._location.store.delete(paths)
        for path in paths:
            self._forget(self._location.name(path))

    def digest(self, path: str) -> str:
        try:
            local = self.local(path)
        except NotFoundError as error:
            raise DataLossError(str(error)) from error
        with local.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def sweep(self) -> int:
        """Do nothing: killed runs leave no partial objects."""
        return 0

    @contextmanager
    def leased(self, note: bytes) -> Iterator[None]:
        """Be the only writer for the duration of the block. Raise CollectionLockedError if another process is."""
        lease = Lease(self._location, note)
        lease.acquire()
        with self._lock:
            # Discard what was known before other writers ran.
            self._known.clear()
            self._listed.clear()
            self._lease = lease
        try:
            yield
        finally:
            with self._lock:
                self._lease = None
            lease.release()

    def _require_lease(self) -> None:
        if self._lease is not None:
            self._lease.require()

    def _list(self, folder: str) -> dict[str, Stamp]:
        """Return the objects directly in a folder, by name."""
        _inside(folder)
        found: dict[str, Stamp] = {}
        with store_errors(self.shown(folder), self.location):
            listed: Any = self._location.store.list_with_delimiter(f"{self._location.path(folder)}/")
        with self._lock:
            for path in [path for path in self._known if _folder(path) == folder]:
                del self._known[path]
            self._listed.add(folder)
        for meta in listed["objects"]:
            path = self._location.name(str(meta["path"]))
            # Some stores keep an empty object for the folder itself.
            if _folder(path) != folder:
                continue
            found[PurePosixPath(path).name] = self._note(path, meta)
        return found

    def _described(self, path: str) -> tuple[Stamp, str]:
        _inside(path)
        with self._lock:
            known = self._known.get(path)
        return known or self._head(path)

    def _head(self, path: str) -> tuple[Stamp, str]:
        with self._store_errors(path):
            meta = self._location.store.head(self._location.path(path))
        self._note(path, meta)
        return self._known[path]

    def _fetch(self, path: str, temporary: Path) -> None:
        with self._store_errors(path):
            found = self._location.store.get(self._location.path(path))
            with temporary.open("wb") as file:
                for chunk in found.stream(min_chunk_size=8 << 20):
                    file.write(chunk)
        if temporary.stat().st_size != found.meta["size"]:
            raise IndexerError(f"{self.shown(path)} was truncated during transfer; run the command again.")

    def _note(self, path: str, meta: Any) -> Stamp:
        """Record the stamp and version of an object; a changed object has another version."""
        version = str(meta["e_tag"] or meta["last_modified"])
        number = int.from_bytes(hashlib.sha256(version.encode()).digest()[:7], "big")
        stamp = Stamp(number, int(meta["size"]), int(meta["last_modified"].timestamp() * 1_000_000) * 1000)
        with self._lock:
            self._known[path] = stamp, version
        return stamp

    def _forget(self, path: str) -> None:
        with self._lock:
            self._known.pop(path, None)

    def _store_errors(self, path: str) -> contextlib.AbstractContextManager[None]:
        return store_errors(self.shown(path), self.location)


def _reopened(url: str, lease: int | None) -> ObjectStorage:
    """Return the same storage in another process; with a lease number it writes on behalf of the lease's holder."""
    storage = ObjectStorage(url)
    if lease is not None:
        storage._lease = Lease.reopen(storage.store_location, lease)
    return storage


def _inside(path: str) -> None:
    parts: Sequence[str] = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts:
        raise DataLossError(f"{path!r} is outside the collection; its manifest was edited.")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
