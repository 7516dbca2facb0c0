"""Fuzz the manifest reader: bytes are a manifest, which survives a round trip, or one of our errors."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

from tests.fuzz.targets.folders import own_folder
from tests.fuzz.targets.toys import toy

from lookalike_indexer.collection import encoding, generations
from lookalike_indexer.collection.description import describe
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError

_ROOT = own_folder("manifest")
(_ROOT / "generations").mkdir()


def target(data: bytes) -> None:
    # Half of the inputs get a valid checksum, so that the checks behind it are reached.
    for attempt in (data, sealed(data)):
        (_ROOT / "generations" / "000001.json").write_bytes(attempt)
        try:
            found = generations.read(Storage(_ROOT), 1)
        except IndexerError:
            continue
        encoded = encoding.encode(found)
        assert encoding.decode(encoded.manifest, "again", encoded.lists.__getitem__) == found
        reader = CollectionReader(Storage(_ROOT), found)
        with contextlib.suppress(IndexerError):
            # The manifest of a collection whose files are all missing.
            describe(reader)
        for space in found.spaces:
            reader.space(space)
            found.space_spec(space)
        for path in found.files:
            assert _ROOT in reader.storage.local(path).parents


def sealed(data: bytes) -> bytes:
    """Return the bytes with the checksum of their body."""
    opening = b"{\n"
    body = data.removeprefix(opening)
    if body.startswith(b' "checksum"') and b"\n" in body:
        body = body[body.index(b"\n") + 1 :]
    digest = hashlib.sha256(opening + body).hexdigest().encode()
    return opening + b' "checksum": "' + digest + b'",\n' + body


def seeds() -> Iterator[bytes]:
    root = toy()
    yield (root / "generations" / "000001.json").read_bytes()
    yield b"{}"
    yield b'{\n "format": 1\n}\n'
