"""Checks of the operations that a store must support: listing, range reads, and conditional creation."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lookalike_indexer.collection.objects.store import Place, asking
from lookalike_indexer.errors import IndexerError

_BYTES = b"0123456789"


def check_creates_once(place: Place) -> None:
    """Raise IndexerError if the store lets two writers create the same object, and thus overwrite each other."""
    with _probe(place) as path:
        if not _is_refused(place, path):
            raise IndexerError(
                f"{place.bucket} does not support conditional writes (If-None-Match), so two writers "
                "could overwrite each other; use a store that does, such as S3, Ceph or SeaweedFS."
            )


def check_lists(place: Place) -> None:
    """Raise IndexerError if a new object is not listed at once, or if listings are refused."""
    with _probe(place) as path:
        folder = path.rpartition("/")[0]
        with asking(path, place.bucket):
            listed: Any = place.store.list_with_delimiter(f"{folder}/")
        if path not in [str(meta["path"]) for meta in listed["objects"]]:
            raise IndexerError(
                f"{place.bucket} does not list a new object immediately; use a store with consistent listings."
            )


def check_reads_ranges(place: Place) -> None:
    """Raise IndexerError if a range read is refused or returns other bytes."""
    with _probe(place) as path, asking(path, place.bucket):
        if bytes(place.store.get_range(path, start=2, length=3)) != _BYTES[2:5]:
            raise IndexerError(f"{place.bucket} does not support range reads; use a store that does.")


@contextmanager
def _probe(place: Place) -> Iterator[str]:
    """Create a small object; yield its path and remove it afterwards."""
    path = place.path(f".probe/{secrets.token_hex(8)}")
    with asking(path, place.bucket):
        place.store.put(path, _BYTES, mode="create")
    try:
        yield path
    finally:
        with asking(path, place.bucket):
            place.store.delete(path)


def _is_refused(place: Place, path: str) -> bool:
    from obstore.exceptions import AlreadyExistsError

    try:
        with asking(path, place.bucket):
            place.store.put(path, _BYTES, mode="create")
    except AlreadyExistsError:
        return True
    return False
