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

from lookalike_indexer.collection.objects.store import Place, asking
from lookalike_indexer.errors import IndexerError, NotFoundError

HEARTBEAT_S = 20.0
_CLAIM = "claimed"


def hold(place: Place, number: int, holder: object, manifest: str) -> Callable[[], object]:
    """Keep a generation from being removed for the lifetime of `holder`, or until the returned function is called.

    `manifest` is the path of its manifest. Raise NotFoundError if the generation does not exist, or is being removed.
    """
    path = f"{_folder(place, number)}/{secrets.token_hex(8)}"
    try:
        _write(place, path)
    except IndexerError:
        return lambda: None  # this reader has no write permission
    ended = threading.Event()
    threading.Thread(target=_beat, args=(place, path, ended), name="hold", daemon=True).start()
    release = weakref.finalize(holder, _release, place, path, ended)
    missing = f"{place.bucket}/{manifest} is missing from the collection."
    if _CLAIM in dict(_listed(place, number)):
        raise NotFoundError(f"{place.bucket}/{manifest} is being removed from the collection.")
    with asking(f"{place.bucket}/{manifest}", place.bucket, missing=missing):
        place.store.head(place.path(manifest))
    return release


@contextmanager
def claimed(place: Place, number: int) -> Iterator[bool]:
    """Claim a generation for the duration of the block; yield True if no reader holds it."""
    claim = f"{_folder(place, number)}/{_CLAIM}"
    _write(place, claim)
    try:
        holds = dict(_listed(place, number))
        # The claim was just written, so its time is the store's current time.
        now = holds.pop(_CLAIM)
        longest = datetime.timedelta(seconds=3 * HEARTBEAT_S)
        yield all(now - written > longest for written in holds.values())
    finally:
        with contextlib.suppress(IndexerError), asking(claim, place.bucket):
            place.store.delete(claim)


def _listed(place: Place, number: int) -> Iterator[tuple[str, datetime.datetime]]:
    folder = _folder(place, number)
    with asking(folder, place.bucket):
        listed: Any = place.store.list_with_delimiter(f"{folder}/")
    for meta in listed["objects"]:
        yield str(meta["path"]).rpartition("/")[2], meta["last_modified"]


def _beat(place: Place, path: str, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        with contextlib.suppress(IndexerError):
            _write(place, path)


def _release(place: Place, path: str, ended: threading.Event) -> None:
    ended.set()
    with contextlib.suppress(IndexerError), asking(path, place.bucket):
        place.store.delete(path)


def _write(place: Place, path: str) -> None:
    with asking(f"{place.bucket}/{path}", place.bucket):
        place.store.put(path, b"")


def _folder(place: Place, number: int) -> str:
    return place.path(f".holds/{number:08d}")
