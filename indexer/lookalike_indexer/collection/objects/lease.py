"""Writer lease on an object store: numbered lease objects, created once each, with heartbeats.

A writer creates the lease of the next number and rewrites it every few seconds. If a lease is not rewritten for three
heartbeats, by the store's own clock, another writer may create the next number. A writer checks its lease before it
publishes, and stops if another one followed.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import threading
from typing import Any

from lookalike_indexer.collection.objects.store import StoreLocation, store_errors
from lookalike_indexer.errors import CollectionLockedError, IndexerError

HEARTBEAT_S = 5.0
_FOLDER = ".lease"
_RELEASED = b"released"


class Lease:
    """The right to write, held from `acquire` to `release`. `note` describes the holder to others."""

    def __init__(self, location: StoreLocation, note: bytes, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._location, self._note, self._heartbeat_s = location, note, heartbeat_s
        self._number = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def reopen(cls, location: StoreLocation, number: int) -> Lease:
        """Return the lease of another process, for a process that writes on its behalf; it only supports `require`."""
        lease = cls(location, b"")
        lease._number = number
        return lease

    @property
    def number(self) -> int:
        """The number of the held lease; 0 if none."""
        return self._number

    def acquire(self) -> None:
        """Acquire the lease. Raise CollectionLockedError if another process holds it; the text is its note."""
        from obstore.exceptions import AlreadyExistsError

        newest = self._newest()
        if newest is not None and not self._is_over(newest):
            raise CollectionLockedError(self._note_of(newest).decode(errors="replace"))
        self._number = (newest or 0) + 1
        path = self._path(self._number)
        try:
            with self._store_errors(path):
                self._location.store.put(path, self._note, mode="create")
        except AlreadyExistsError as error:
            # The response to a first attempt may have been lost.
            if self._note_of(self._number) != self._note:
                raise CollectionLockedError(self._note_of(self._number).decode(errors="replace")) from error
        for number in self._numbers():
            if number < self._number:
                with self._store_errors(self._path(number)), contextlib.suppress(FileNotFoundError):
                    self._location.store.delete(self._path(number))
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Check that the lease is still held.

        Raise CollectionLockedError if another process took it over after missed heartbeats.
        """
        newest = self._newest()
        if newest != self._number:
            raise CollectionLockedError(
                f"Another process took over the lease of {self._location.url}, because this one did not renew it for "
                f"{3 * self._heartbeat_s:g} s; run the command again."
            )

    def release(self) -> None:
        """Release the lease, so that the next writer can begin at once."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        # If this fails, the lease expires.
        with contextlib.suppress(IndexerError):
            if self._newest() == self._number:
                with self._store_errors(self._path(self._number)):
                    self._location.store.put(self._path(self._number), _RELEASED)

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            # A failed heartbeat is retried at the next one. After three failures another writer may hold the lease;
            # `require` detects that.
            with contextlib.suppress(IndexerError):
                if self._newest() != self._number:
                    return
                with self._store_errors(self._path(self._number)):
                    self._location.store.put(self._path(self._number), self._note)

    def _is_over(self, number: int) -> bool:
        if self._note_of(number) == _RELEASED:
            return True
        return self._age(number) > datetime.timedelta(seconds=3 * self._heartbeat_s)

    def _age(self, number: int) -> datetime.timedelta:
        """Return the age of a lease by the store's clock, because clocks of machines may differ."""
        clock = f"{self._folder}/clock-{secrets.token_hex(4)}"
        with self._store_errors(self._path(number)):
            written: Any = self._location.store.head(self._path(number))["last_modified"]
            self._location.store.put(clock, b"")
            now: Any = self._location.store.head(clock)["last_modified"]
            self._location.store.delete(clock)
        age: datetime.timedelta = now - written
        return age

    def _newest(self) -> int | None:
        return max(self._numbers(), default=None)

    def _numbers(self) -> list[int]:
        with self._store_errors(self._folder):
            listed: Any = self._location.store.list_with_delimiter(f"{self._folder}/")
        names = [str(meta["path"]).rpartition("/")[2] for meta in listed["objects"]]
        return [int(name) for name in names if name.isdecimal()]

    def _note_of(self, number: int) -> bytes:
        with self._store_errors(self._path(number)):
            return bytes(self._location.store.get(self._path(number)).bytes())

    @property
    def _folder(self) -> str:
        return self._location.path(_FOLDER)

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:08d}"

    def _store_errors(self, path: str) -> contextlib.AbstractContextManager[None]:
        return store_errors(f"{self._location.bucket}/{path}", self._location.bucket)
