"""One writer at a time on an object store: numbered leases that can be created once, with heartbeats.

A writer creates the next number. It rewrites its lease every few seconds; a
lease that was not rewritten for three heartbeats, by the store's own clock, may
be followed by the next number. A writer whose lease was followed finds that out
before it publishes, and stops.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import threading
from typing import Any

from lookalike_indexer.collection.objects.store import Place, asking
from lookalike_indexer.errors import CollectionLockedError, IndexerError

HEARTBEAT_S = 5.0
_FOLDER = ".lease"
_RELEASED = b"released"


class Lease:
    """The right to write, held from `acquire` to `release`. `note` tells others of the holder."""

    def __init__(self, place: Place, note: bytes, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._place, self._note, self._heartbeat_s = place, note, heartbeat_s
        self._number = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of_another(cls, place: Place, number: int) -> Lease:
        """A lease that another process holds, for one that writes on its behalf: it can only be required."""
        lease = cls(place, b"")
        lease._number = number
        return lease

    @property
    def number(self) -> int:
        """The number of the lease that is held; 0 before."""
        return self._number

    def acquire(self) -> None:
        """CollectionLockedError: another process holds the lease; the text is its note."""
        from obstore.exceptions import AlreadyExistsError

        newest = self._newest()
        if newest is not None and not self._is_over(newest):
            raise CollectionLockedError(self._note_of(newest).decode(errors="replace"))
        self._number = (newest or 0) + 1
        path = self._path(self._number)
        try:
            with self._asking(path):
                self._place.store.put(path, self._note, mode="create")
        except AlreadyExistsError as error:
            # The answer to a first attempt may have been lost.
            if self._note_of(self._number) != self._note:
                raise CollectionLockedError(self._note_of(self._number).decode(errors="replace")) from error
        for number in self._numbers():
            if number < self._number:
                with self._asking(self._path(number)), contextlib.suppress(FileNotFoundError):
                    self._place.store.delete(self._path(number))
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """CollectionLockedError: another process took the lease over, since this one was silent for too long."""
        newest = self._newest()
        if newest != self._number:
            raise CollectionLockedError(
                f"Another process took over the collection {self._place.url}, since this one was silent for more than "
                f"{3 * self._heartbeat_s:g} s; run the command again."
            )

    def release(self) -> None:
        """Let the next writer begin at once."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        # If this fails, the lease ends by itself.
        with contextlib.suppress(IndexerError):
            if self._newest() == self._number:
                with self._asking(self._path(self._number)):
                    self._place.store.put(self._path(self._number), _RELEASED)

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            # One that fails is followed by the next; after three the lease may be another's, which `require` tells.
            with contextlib.suppress(IndexerError):
                if self._newest() != self._number:
                    return
                with self._asking(self._path(self._number)):
                    self._place.store.put(self._path(self._number), self._note)

    def _is_over(self, number: int) -> bool:
        if self._note_of(number) == _RELEASED:
            return True
        return self._age(number) > datetime.timedelta(seconds=3 * self._heartbeat_s)

    def _age(self, number: int) -> datetime.timedelta:
        """How long ago a lease was written, by the store's clock: machines need not agree on the time."""
        clock = f"{self._folder}/clock-{secrets.token_hex(4)}"
        with self._asking(self._path(number)):
            written: Any = self._place.store.head(self._path(number))["last_modified"]
            self._place.store.put(clock, b"")
            now: Any = self._place.store.head(clock)["last_modified"]
            self._place.store.delete(clock)
        age: datetime.timedelta = now - written
        return age

    def _newest(self) -> int | None:
        return max(self._numbers(), default=None)

    def _numbers(self) -> list[int]:
        with self._asking(self._folder):
            listed: Any = self._place.store.list_with_delimiter(f"{self._folder}/")
        names = [str(meta["path"]).rpartition("/")[2] for meta in listed["objects"]]
        return [int(name) for name in names if name.isdecimal()]

    def _note_of(self, number: int) -> bytes:
        with self._asking(self._path(number)):
            return bytes(self._place.store.get(self._path(number)).bytes())

    @property
    def _folder(self) -> str:
        return self._place.path(_FOLDER)

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:08d}"

    def _asking(self, path: str) -> contextlib.AbstractContextManager[None]:
        return asking(f"{self._place.bucket}/{path}", self._place.bucket)
