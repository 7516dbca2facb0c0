"""Uploaded images that the collection stores itself: images that were added while it was served.

    pictures/ab/abcd...                          the file of an image, named by the SHA-256 of its bytes

A URI refers to such an image as `picture://SHA256`, so that the collection can be moved. No relative path has that
form. The digest is the name, so that a manifest does not list these files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.collection import changelog
from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage

FOLDER = "pictures"
PATTERN = r"pictures/[0-9a-f]{2}/[0-9a-f]{64}"
_SCHEME = "picture://"
_IN_LOG = re.compile(rb"picture://([0-9a-f]{64})")
# Beside the log: held while stored images are not yet named by a record of the log.
LOCK = f"{changelog.FOLDER}/.pictures-lock"
# Held while waiting for that lock, so that a stream of shared holders cannot starve an exclusive one.
_TURN = f"{changelog.FOLDER}/.pictures-turn"


def is_uploaded(uri: str) -> bool:
    """Return whether a stored URI refers to an uploaded image."""
    return uri.startswith(_SCHEME)


def path_of(uri: str) -> str:
    """Return the path of an uploaded image's file, relative to the collection's root."""
    return _path(uri.removeprefix(_SCHEME))


def digest_of(uri: str) -> str:
    """Return the SHA-256 of an uploaded image, in hexadecimal."""
    return uri.removeprefix(_SCHEME)


def folder(storage: Storage) -> str:
    """Return the absolute path, or URL, of the folder of uploaded images."""
    return str(storage.local(FOLDER).absolute()) if storage.is_local else storage.shown(FOLDER)


def absolute(uri: str, kept: str) -> str:
    """Return the absolute URI of an uploaded image; `kept` is the result of `folder`. Return other URIs unchanged."""
    digest = uri.removeprefix(_SCHEME)
    return f"{kept}/{digest[:2]}/{digest}" if is_uploaded(uri) else uri


def absolute_column(uris: pa.ChunkedArray, kept: str) -> pa.ChunkedArray:
    """Apply `absolute` to a whole column."""
    digests = pc.utf8_slice_codeunits(uris, len(_SCHEME))
    found = pc.binary_join_element_wise(kept, pc.utf8_slice_codeunits(digests, 0, 2), digests, "/")
    return pc.if_else(is_uploaded_column(uris), found, uris)


def is_uploaded_column(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Apply `is_uploaded` to a whole column."""
    return pc.starts_with(uris, _SCHEME)


def store(storage: Storage, files: Iterable[bytes]) -> list[str]:
    """Store image files that are not stored yet; return all URIs once the files are synced to the disk."""
    uris, new = [], []
    for data in files:
        digest = hashlib.sha256(data).hexdigest()
        path = _path(digest)
        if not storage.exists(path):
            with storage.staged(path) as temporary:
                temporary.write_bytes(data)
            new.append(path)
        uris.append(f"{_SCHEME}{digest}")
    storage.settle(new)
    return uris


def named_by(storage: Storage, tables: Iterable[str]) -> set[str]:
    """Return the paths of the uploaded images in the `uri` columns of some tables."""
    found: set[str] = set()
    for table in tables:
        uris = read_part(storage, table, ["uri"]).column("uri")
        found.update(path_of(uri) for uri in uris.filter(is_uploaded_column(uris)).to_pylist())
    return found


def named_by_log(storage: Storage, segments: Iterable[str]) -> set[str]:
    """Return the paths of the uploaded images in segments of the change log."""
    return {_path(one.decode()) for path in segments for one in _IN_LOG.findall(storage.read(path))}


@contextmanager
def unnamed(storage: Storage) -> Iterator[None]:
    """Protect images that nothing refers to yet: none is removed within the block. May wait for a moment."""
    with ExitStack() as stack:
        with _locked(storage, _TURN, fcntl.LOCK_EX):
            stack.enter_context(_locked(storage, LOCK, fcntl.LOCK_SH))
        yield


@contextmanager
def removing(storage: Storage) -> Iterator[None]:
    """Wait until every stored image is referred to, and block new ones within the block."""
    if not storage.is_local or not storage.exists(LOCK):
        yield
        return
    with _locked(storage, _TURN, fcntl.LOCK_EX), _locked(storage, LOCK, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(storage: Storage, path: str, how: int) -> Iterator[None]:
    local = storage.local(path)
    local.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(local, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # On file systems without locks, users must not collect garbage while images are added.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _path(digest: str) -> str:
    return f"{FOLDER}/{digest[:2]}/{digest}"
