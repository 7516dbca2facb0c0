"""Checks of the operations that a store must support: listing, range reads, and conditional creation."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lookalike_indexer.collection.objects.store import StoreLocation, store_errors
from lookalike_indexer.errors import IndexerError

_BYTES = b"0123456789"


def check_creates_once(location: StoreLocation) -> None:
    """Raise IndexerError if the store lets two writers create the same object, and thus overwrite each other."""
    with _probe(location) as path:
        if not _is_refused(location, path):
            raise IndexerError(
                f"{location.bucket} does not support conditional writes (If-None-Match), so two writers "
                "could overwrite each other; use a store that does, such as S3, Ceph or SeaweedFS."
            )


def check_lists(location: StoreLocation) -> None:
    """Raise IndexerError if a new object is not listed at once, or if listings are refused."""
    with _probe(location) as path:
        folder = path.rpartition("/")[0]
        with store_errors(path, location.bucket):
            listed: Any = location.store.list_with_delimiter(f"{folder}/")
        if path not in [str(meta["path"]) for meta in listed["objects"]]:
            raise IndexerError(
                f"{location.bucket} does not list a new object immediately; use a store with consistent listings."
            )


def check_reads_ranges(location: StoreLocation) -> None:
    """Raise IndexerError if a range read is refused or returns other bytes."""
    with _probe(location) as path, store_errors(path, location.bucket):
        if bytes(location.store.get_range(path, start=2, length=3)) != _BYTES[2:5]:
            raise IndexerError(f"{location.bucket} does not support range reads; use a store that does.")


@contextmanager
def _probe(location: StoreLocation) -> Iterator[str]:
    """Create a small object; yield its path and remove it afterwards."""
    path = location.path(f".probe/{secrets.token_hex(8)}")
    with store_errors(path, location.bucket):
        location.store.put(path, _BYTES, mode="create")
    try:
        yield path
    finally:
        with store_errors(path, location.bucket):
            location.store.delete(path)


def _is_refused(location: StoreLocation, path: str) -> bool:
    from obstore.exceptions import AlreadyExistsError

    try:
        with store_errors(path, location.bucket):
            location.store.put(path, _BYTES, mode="create")
    except AlreadyExistsError:
        return True
    return False
