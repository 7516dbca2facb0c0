"""One writer at a time: a lock file beside the collection's tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import CollectionLockedError, IndexerError


@contextmanager
def writing(storage: Storage) -> Iterator[None]:
    """Hold the collection for writing, and clear away what killed runs left.

    The operating system drops the lock with the process that holds it, so a
    killed writer never blocks the next. CollectionLockedError when another
    process holds it.
    """
    try:
        storage.root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(storage.root / ".lock")
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise CollectionLockedError(
            f"Another process is writing to {storage.root}; wait until it has finished, then run the command again."
        ) from error
    except OSError as error:
        raise IndexerError(f"{storage.root} cannot be written to: {error.strerror or error}.") from error
    try:
        storage.sweep()
        yield
    finally:
        lock.release()
