"""Size-bounded LRU cache of objects, on the local disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lookalike_indexer.errors import UsageError

CACHE = "LOOKALIKE_CACHE"
CACHE_BYTES = "LOOKALIKE_CACHE_BYTES"
DEFAULT_BYTES = 50 << 30
# A recently requested file may not be open yet.
_IN_USE_S = 120
_LOCKS = 64


def cache_folder() -> Path:
    """Return the cache folder: LOOKALIKE_CACHE, else a folder of the user's cache."""
    if folder := os.environ.get(CACHE):
        return Path(folder)
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "lookalike" / "objects"


def cache_bytes() -> int:
    """Return the maximum size of the cache in bytes. Raise UsageError if the variable is not a number."""
    text = os.environ.get(CACHE_BYTES) or str(DEFAULT_BYTES)
    if not text.isdecimal():
        raise UsageError(f"{CACHE_BYTES} is {text!r}; write a number of bytes, such as {DEFAULT_BYTES}.")
    return int(text)


class Cache:
    """Cached files, keyed by the object's URL and version, below one folder that several processes may share."""

    def __init__(self, url: str, folder: Path | None = None, most: int | None = None) -> None:
        self._url = url
        self._top = folder or cache_folder()
        self.folder = self._top / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._most = cache_bytes() if most is None else most
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._added = 0

    def fetched(self, path: str, version: str, fetch: Callable[[Path], None]) -> Path:
        """Return the cached copy of an object's version; on a miss, `fetch` writes it."""
        file = self._file(path, version)
        with self._locks[hash(file) % _LOCKS]:
            if not _used(file):
                temporary = self._temporary(file)
                try:
                    fetch(temporary)
                    size = temporary.stat().st_size
                    os.replace(temporary, file)
                finally:
                    temporary.unlink(missing_ok=True)
                self._make_room(size)
        return file

    def put(self, path: str, version: str, written: Path) -> None:
        """Move a file that was just uploaded into the cache as the copy of that version."""
        file = self._file(path, version)
        file.parent.mkdir(parents=True, exist_ok=True)
        size = written.stat().st_size
        os.replace(written, file)
        self._make_room(size)

    def temporary(self, path: str) -> Path:
        """Return a path in the cache's folder for a file that is being written."""
        return self._temporary(self._file(path, "new"))

    def _file(self, path: str, version: str) -> Path:
        digest = hashlib.sha256(f"{path}\n{version}".encode()).hexdigest()
        # Readers detect the file type by its suffix.
        return self.folder / digest[:2] / f"{digest[2:32]}{Path(path).suffix}"

    def _temporary(self, file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.with_name(f".tmp-{secrets.token_hex(4)}-{file.name}")

    def _make_room(self, added: int) -> None:
        """Evict the least recently used copies if the cache is too large; checked after each sixteenth of the limit is
        added.
        """
        self._added += added
        if self._added < self._most // 16:
            return
        self._added = 0
        found = []
        for file in self._top.rglob("*"):
            with contextlib.suppress(OSError):
                status = file.stat()
                if file.is_file():
                    found.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in found)
        now = time.time()
        for used, size, file in sorted(found):
            if total <= self._most or used > now - _IN_USE_S:
                break
            with contextlib.suppress(OSError):
                file.unlink()
                total -= size


def _used(file: Path) -> bool:
    """Mark a copy as used now; return False if there is none."""
    try:
        os.utime(file)
    except OSError:
        return False
    return True
