"""Read holds on generations of an object store: each reader rewrites a small object beside the generation.

`gc` cannot detect a reader without write permission; docs/scale.md describes this case. A hold expires if it is not
rewritten for three heartbeats.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lookalike_indexer.collection.objects.store import StoreLocation, store_errors
from lookalike_indexer.errors import IndexerError, NotFoundError

HEARTBEAT_S = 20.0
_CLAIM = "claimed"


def hold(location: StoreLocation, number: int, holder: object, manifest: str) -> Callable[[], object]:
    """Keep a generation from being removed for the lifetime of `holder`, or until the returned function is called.

    `manifest` is the path of its manifest. Raise NotFoundError if the generation does not exist, or is being removed.
    """
    path = f"{_folder(location, number)}/{secrets.token_hex(8)}"
    try:
        _write(location, path)
    except IndexerError:
        return lambda: None  # this reader has no write permission
    ended = threading.Event()
    threading.Thread(target=_beat, args=(location, path, ended), name="hold", daemon=True).start()
    release = weakref.finalize(holder, _release, location, path, ended)
    missing = f"{location.bucket}/{manifest} is missing from the collection."
    if _CLAIM in dict(_listed(location, number)):
        raise NotFoundError(f"{location.bucket}/{manifest} is being removed from the collection.")
    with store_errors(f"{location.bucket}/{manifest}", location.bucket, missing=missing):
        location.store.head(location.path(manifest))
    return release


@contextmanager
def claimed(location: StoreLocation, number: int) -> Iterator[bool]:
    """Claim a generation for the duration of the block; yield True if no reader holds it."""
    claim = f"{_folder(location, number)}/{_CLAIM}"
    _write(location, claim)
    try:
        holds = dict(_listed(location, number))
        # The claim was just written, so its time is the store's current time.
        now = holds.pop(_CLAIM)
        longest = datetime.timedelta(seconds=3 * HEARTBEAT_S)
        yield all(now - written > longest for written in holds.values())
    finally:
        with contextlib.suppress(IndexerError), store_errors(claim, location.bucket):
            location.store.delete(claim)


def _listed(location: StoreLocation, number: int) -> Iterator[tuple[str, datetime.datetime]]:
    folder = _folder(location, number)
    with store_errors(folder, location.bucket):
        listed: Any = location.store.list_with_delimiter(f"{folder}/")
    for meta in listed["objects"]:
        yield str(meta["path"]).rpartition("/")[2], meta["last_modified"]


def _beat(location: StoreLocation, path: str, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        with contextlib.suppress(IndexerError):
            _write(location, path)


def _release(location: StoreLocation, path: str, ended: threading.Event) -> None:
    ended.set()
    with contextlib.suppress(IndexerError), store_errors(path, location.bucket):
        location.store.delete(path)


def _write(location: StoreLocation, path: str) -> None:
    with store_errors(f"{location.bucket}/{path}", location.bucket):
        location.store.put(path, b"")


def _folder(location: StoreLocation, number: int) -> str:
    return location.path(f".holds/{number:08d}")
