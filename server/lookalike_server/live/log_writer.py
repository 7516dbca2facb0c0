"""Appending to the log of changes: one writer of a collection at a time, and one sync per group of changes."""

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
# A segment of this size is followed by a new one, so that old ones can be removed.
_SEGMENT_BYTES = 64 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_RETRY_S = 30.0


class LogWriter:
    """The only writer of a collection's log, in its own epoch. Not thread-safe.

    Raises CollectionLockedError, which names the other server, if another one writes the log, and
    IndexerError if the folder is not writable.
    """

    def __init__(self, storage: Storage, folded_through: int) -> None:
        self._storage = storage
        folder = storage.local(changelog.FOLDER)
        # Not bound to a thread, because any thread may release it.
        self._lock = filelock.FileLock(storage.local(changelog.WRITER_LOCK), thread_local=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise CollectionLockedError(_refusal(storage)) from error
        except OSError as error:
            raise IndexerError(
                f"The server cannot write to the change log {folder}: {error.strerror or error}; "
                "serve without --writable."
            ) from error
        self._file = -1
        try:
            _sign(storage)
            there = changelog.names(storage)
            self.held = changelog.examine(storage)
            # Sequence of the last change on the disk.
            self.sequence = max(self.held.last, folded_through)
            self._name = Name(there[-1].epoch + 1 if there else 1, 1)
            self._size = 0
            self._begin(self._name)
        except BaseException:
            self._lock.release()
            raise

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write changes to the disk together. Their sequences follow `sequence`, which increases by their number.

        If it raises, none of them is part of the log. Raises OverloadedError if the disk is full,
        and DeviceError if writing failed or another server has taken over the log.
        """
        data = b"".join(
            changelog.frame(self.sequence + place, payload) for place, payload in enumerate(payloads, start=1)
        )
        try:
            self._check_epoch()
            if self._file < 0 or self._size > _SEGMENT_BYTES:
                # Also after a failure: the system may have dropped what it could not write, and a second sync of the
                # same file would not report that. The new segment overrules what was written to the old one.
                self._begin(Name(self._name.epoch, self._name.number + 1))
            changelog.write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError as error:
            self._give_up()
            if error.errno in FULL:
                raise full_disk() from error
            raise DeviceError(
                f"The change could not be written, so it was not made: {error.strerror or error}."
            ) from error
        self._size += len(data)
        self.sequence += len(payloads)

    def end_segment(self) -> None:
        """Begin a new segment, so that this one can be removed when it is no longer needed."""
        if self._size:
            # If this fails, the next change tries again.
            with contextlib.suppress(OSError):
                self._begin(Name(self._name.epoch, self._name.number + 1))

    def close(self) -> None:
        """Release the log for the next writer."""
        self._give_up()
        with contextlib.suppress(OSError):
            self._storage.local(_OWNER).unlink(missing_ok=True)
        self._lock.release()

    def _begin(self, name: Name) -> None:
        """Begin a segment, which overrules what earlier segments contain after `sequence`."""
        self._give_up()
        # Set even if this fails: the file's state is unknown then, and the next attempt uses the next name.
        self._name = name
        self._file, self._size = changelog.begin(self._storage, name, self.sequence + 1), 0

    def _check_epoch(self) -> None:
        newest = changelog.names(self._storage)[-1:]
        if newest and newest[0].epoch > self._name.epoch:
            raise DeviceError(
                "Another server has taken over the change log of this collection; this one accepts no more changes. "
                "Stop one of them."
            )

    def _give_up(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            with contextlib.suppress(OSError):
                os.close(file)


def full_disk() -> OverloadedError:
    """Return the error for a change that does not fit on the disk."""
    return OverloadedError(
        "The disk of the collection is full, so the change was not stored; free some space.", _FULL_RETRY_S
    )


def _sign(storage: Storage) -> None:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    note = Owner(os.getpid(), socket.gethostname(), "lookalike serve --writable", now)
    # The note only informs people, so it does not matter whether it can be written.
    with contextlib.suppress(OSError):
        storage.local(_OWNER).write_bytes(msgspec.json.encode(note))


def writer_of(storage: Storage) -> Owner | None:
    """Return the note of the log's last writer, or None if there is none."""
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
        f"{who[0].upper()}{who[1:]} accepts the changes to {storage.location}; only one server can at a time. "
        "Stop it, or serve this one without --writable."
    )
