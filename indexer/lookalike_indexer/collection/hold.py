"""Read holds on generations: each reader holds a shared lock on its manifest, so that `gc` keeps that generation.

The lock is a `flock` of the manifest file. The operating system releases it with the process, and a reader needs no
write permission. On file systems without such locks `gc` cannot detect readers, and removes nothing unless told to.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.objects import holds
from lookalike_indexer.collection.objects.storage import ObjectStorage
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError, NotFoundError


def hold(storage: Storage, number: int, holder: object) -> Callable[[], object]:
    """Keep a generation from being removed for the lifetime of `holder`, or until the returned function is called.

    Raise NotFoundError if the generation does not exist, or is being removed.
    """
    if isinstance(storage, ObjectStorage):
        return holds.hold(storage.store_location, number, holder, layout.generation(number))
    path = storage.local(layout.generation(number))
    descriptor = _opened(path)
    release = weakref.finalize(holder, os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise NotFoundError(f"{path} is being removed from the collection.") from error
    except OSError:
        return release  # the file system has no such locks
    if not path.exists():
        raise NotFoundError(f"{path} is missing from the collection.")
    return release


@contextmanager
def claimed(storage: Storage, number: int) -> Iterator[bool | None]:
    """Claim a generation for the duration of the block, so that no reader can begin to hold it.

    Yields True if no reader holds it, False if one does, and None if the file system cannot tell.
    """
    if isinstance(storage, ObjectStorage):
        with holds.claimed(storage.store_location, number) as is_free:
            yield is_free
        return
    descriptor = _opened_to_claim(storage.local(layout.generation(number)))
    try:
        yield _is_free(descriptor)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _opened_to_claim(path: Path) -> int:
    # NFS implements flock by byte-range locks, and grants an exclusive one only on a writable descriptor (EBADF).
    try:
        return os.open(path, os.O_RDWR)
    except OSError:
        return _opened(path)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} is missing from the collection.") from error
    except OSError as error:
        raise IndexerError(f"{path} cannot be read: {error.strerror}.") from error
