"""Writer lock: a lock file beside the collection's tables, and a note that describes its holder."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import filelock
import msgspec

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.objects.storage import ObjectStorage
from lookalike_indexer.collection.parts import open_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.typed_json import TypedJson
from lookalike_indexer.errors import CollectionLockedError, IndexerError, UsageError

LOCK = ".lock"
# Separate from the lock file, which a process that tries to take the lock may truncate.
OWNER = ".lock-owner.json"


class Owner(msgspec.Struct, frozen=True):
    """The description of a writer: process, machine, command, and start time (seconds since 1970)."""

    pid: int
    host: str
    command: str
    since: float


OWNER_JSON = TypedJson(Owner)


@contextmanager
def writing(storage: Storage, *, sweep: bool = True) -> Iterator[None]:
    """Hold the collection for writing, and remove leftovers of killed runs unless `sweep` is false.

    The operating system releases the lock with the process that holds it, so a killed writer never blocks the next one.
    Raise CollectionLockedError if another process holds it; the message names that process. If the first writer fails
    before it writes anything, it leaves no folder. The same holds if its options or its source are rejected before any
    image is embedded.
    """
    if isinstance(storage, ObjectStorage):
        with _leased(storage):
            yield
        return
    is_new = not storage.root.exists()
    try:
        storage.root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(storage.root / LOCK)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise CollectionLockedError(_refusal(storage)) from error
    except OSError as error:
        raise IndexerError(f"{storage.root} cannot be written to: {error.strerror or error}.") from error
    try:
        _sign(storage)
        if sweep:
            storage.sweep()
        yield
    except UsageError:
        if is_new:
            _remove_imageless(storage)
        raise
    finally:
        # Only while the lock is held: later the note may belong to another writer.
        with contextlib.suppress(OSError):
            storage.local(OWNER).unlink(missing_ok=True)
        if is_new:
            _remove_unused(storage)
        lock.release()


def witness(storage: Storage) -> list[str]:
    """Return absolute paths that another machine sees only if it sees this collection, which this process writes."""
    if not storage.is_local:
        return []
    # The note exists only while a writer runs, which rules out another folder of the same name.
    note = storage.local(OWNER).absolute()
    return [str(note if note.exists() else storage.root.absolute())]


def owner(storage: Storage) -> Owner | None:
    """Return the description that the last holder of the lock wrote; None if there is none."""
    try:
        return OWNER_JSON.decode(storage.local(OWNER).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def _remove_imageless(storage: Storage) -> None:
    """Remove all tables of a new folder if none of them has an image, so that the next run may have another source."""
    if storage.sizes(layout.GENERATIONS):
        return
    for name in storage.sizes(layout.IMAGES):
        with open_part(storage, f"{layout.IMAGES}/{name}") as part:
            if part.metadata.num_rows:
                return
    for path in storage.root.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _remove_unused(storage: Storage) -> None:
    """Remove the collection's folder if it contains only the lock."""
    with contextlib.suppress(OSError):
        if [path.name for path in storage.root.iterdir()] == [LOCK]:
            storage.local(LOCK).unlink()
            storage.root.rmdir()


def _owner() -> Owner:
    command = " ".join(["lookalike", *sys.argv[1:3]])
    return Owner(os.getpid(), socket.gethostname(), command, datetime.datetime.now(datetime.UTC).timestamp())


def _sign(storage: Storage) -> None:
    # The note is only informational, so a failure to write it does not matter.
    with contextlib.suppress(OSError):
        storage.local(OWNER).write_bytes(msgspec.json.encode(_owner()))


@contextmanager
def _leased(storage: ObjectStorage) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(storage.leased(msgspec.json.encode(_owner())))
        except CollectionLockedError as error:
            try:
                holder = OWNER_JSON.decode(str(error))
            except msgspec.DecodeError:
                raise error from None
            ends = " (the lease of a killed process ends by itself within half a minute)"
            raise CollectionLockedError(_holder_text(storage, holder, ends)) from error
        yield


def _refusal(storage: Storage) -> str:
    holder = owner(storage)
    if holder is None:
        return (
            f"Another process is writing to {storage.location}; wait until it has finished, then run the command again."
        )
    gone = ""
    if holder.host != socket.gethostname():
        gone = f" (or, if {holder.host} no longer exists, remove {storage.local(LOCK)})"
    return _holder_text(storage, holder, gone)


def _holder_text(storage: Storage, holder: Owner, otherwise: str) -> str:
    since = datetime.datetime.fromtimestamp(holder.since, datetime.UTC)
    age = _age((datetime.datetime.now(datetime.UTC) - since).total_seconds())
    return (
        f"Another process is writing to {storage.location}: {holder.command!r}, process {holder.pid} on {holder.host}, "
        f"for {age}; wait until it has finished{otherwise}, then run the command again."
    )


def _age(seconds: float) -> str:
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{max(0, round(seconds))} s"
