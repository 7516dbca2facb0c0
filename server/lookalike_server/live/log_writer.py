"""Writing the log of changes: one writer of a collection at a time, and one sync for each group of changes."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import socket
from collections.abc import Sequence

import filelock
import msgspec

from lookalike_indexer.collection import changelog
from lookalike_indexer.collection.changelog import Name
from lookalike_indexer.collection.lock import OWNER_JSON, Owner
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import CollectionLockedError, DeviceError, IndexerError
from lookalike_server.common.errors import OverloadedError

_OWNER = f"{changelog.FOLDER}/.writer.json"
# A segment that has grown so large is followed by another, so that old ones can be removed.
_SEGMENT_BYTES = 64 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_RETRY_S = 30.0


class LogWriter:
    """The only writer of a collection's log, in an epoch of its own. To be used by one thread.

    CollectionLockedError: another server writes it, which the message names. IndexerError: the folder cannot be
    written to.
    """

    def __init__(self, storage: Storage, folded_through: int) -> None:
        self._storage = storage
        folder = storage.local(changelog.FOLDER)
        # Whichever thread releases it.
        self._lock = filelock.FileLock(storage.local(changelog.WRITER_LOCK), thread_local=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise CollectionLockedError(_refusal(storage)) from error
        except OSError as error:
            raise IndexerError(
                f"The log of changes {folder} cannot be written to: {error.strerror or error}; "
                "serve without --writable."
            ) from error
        self._file = -1
        try:
            _sign(storage)
            there = changelog.names(storage)
            self.held = changelog.examine(storage)
            # Of the last change that is on the disk.
            self.sequence = max(self.held.last, folded_through)
            self._name = Name(there[-1].epoch + 1 if there else 1, 1)
            self._size = 0
            self._begin(self._name)
        except BaseException:
            self._lock.release()
            raise

    def append(self, payloads: Sequence[bytes]) -> None:
        """Put changes on the disk, together. Their sequences follow `sequence`, which goes on by their number.

        When it raises, none of them is part of the log. OverloadedError: the disk is full. DeviceError: it
        failed, or another server has taken the log over.
        """
        data = b"".join(
            changelog.frame(self.sequence + place, payload) for place, payload in enumerate(payloads, start=1)
        )
        try:
            self._check_epoch()
            if self._file < 0 or self._size > _SEGMENT_BYTES:
                # Also after a failure: the system may have forgotten what it could not write, so that another sync of
                # the same file would tell nothing. What was written there is overruled.
                self._begin(Name(self._name.epoch, self._name.number + 1))
            changelog.write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError as error:
            self._give_up()
            if error.errno in FULL:
                raise full_disk() from error
            raise DeviceError(
                f"The change could not be written and did not happen: {error.strerror or error}."
            ) from error
        self._size += len(data)
        self.sequence += len(payloads)

    def end_segment(self) -> None:
        """Begin another segment, so that this one can be removed when it is not needed."""
        if self._size:
            # What the system refuses now it is asked again with the next change.
            with contextlib.suppress(OSError):
                self._begin(Name(self._name.epoch, self._name.number + 1))

    def close(self) -> None:
        """Give the log up to the next writer."""
        self._give_up()
        with contextlib.suppress(OSError):
            self._storage.local(_OWNER).unlink(missing_ok=True)
        self._lock.release()

    def _begin(self, name: Name) -> None:
        """Begin a segment, which overrules what earlier ones have behind `sequence`."""
        self._give_up()
        # Also when it fails: nobody can tell what is under this name then, and the next attempt takes the next one.
        self._name = name
        self._file, self._size = changelog.begin(self._storage, name, self.sequence + 1), 0

    def _check_epoch(self) -> None:
        newest = changelog.names(self._storage)[-1:]
        if newest and newest[0].epoch > self._name.epoch:
            raise DeviceError(
                "Another server has taken over the log of this collection; this one takes no more changes. "
                "End one of them."
            )

    def _give_up(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            with contextlib.suppress(OSError):
                os.close(file)


def full_disk() -> OverloadedError:
    """What a caller is told whose change does not fit on the disk."""
    return OverloadedError(
        "The disk of the collection is full, so that the change was not stored; make room on it.", _FULL_RETRY_S
    )


def _sign(storage: Storage) -> None:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    note = Owner(os.getpid(), socket.gethostname(), "lookalike serve --writable", now)
    # The note helps people; whether it can be written decides nothing.
    with contextlib.suppress(OSError):
        storage.local(_OWNER).write_bytes(msgspec.json.encode(note))


def writer_of(storage: Storage) -> Owner | None:
    """What the last writer of a log wrote of itself; None where there is no such note."""
    if not storage.is_local:
        return None
    try:
        return OWNER_JSON.decode(storage.local(_OWNER).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def _refusal(storage: Storage) -> str:
    holder = writer_of(storage)
    who = "another server" if holder is None else f"process {holder.pid} on {holder.host} ({holder.command})"
    return (
        f"Changes to {storage.location} are taken by {who}; one server does so at a time. "
        "End it, or serve this one without --writable."
    )
