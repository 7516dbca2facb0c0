"""Digests of images: of their present content in the source, and of what was embedded."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.sources.fetch import Fetcher, is_contained

# The most that is read of a container for one image; a file is read in pieces, whatever its length.
_LARGEST = 4 << 30


@dataclass(frozen=True)
class EmbeddedImage:
    """An embedded image: the length of its encoded bytes and their SHA-256, None if it is unknown."""

    bytes: int
    sha256: str | None


class EmbeddedImages:
    """The images of each part, by part number; caches the most recently read parts."""

    def __init__(self, storage: Storage, paths: Mapping[int, str]) -> None:
        self._storage, self._paths = storage, paths
        self.of_part = functools.lru_cache(maxsize=8)(self._of_part)

    def _of_part(self, number: int) -> dict[int, EmbeddedImage]:
        """Return the embedded images of a part of the listing, by id; empty if no run has reached it."""
        path = self._paths.get(number)
        if path is None or not self._storage.exists(path):
            return {}
        rows = read_part(self._storage, path, ["id", "bytes", "sha256"]).to_pylist()
        return {row["id"]: EmbeddedImage(row["bytes"], row["sha256"]) for row in rows}


class SourceDigests:
    """The SHA-256 of images in the source now. Leaving the `with` block closes the open containers."""

    def __init__(self) -> None:
        self._fetcher = Fetcher()

    def __enter__(self) -> SourceDigests:
        return self

    def __exit__(self, *error: object) -> None:
        self._fetcher.close()

    def digest(self, uri: str) -> str | None:
        """Return the digest of an image by its absolute URI; None if it cannot be read."""
        try:
            if is_contained(uri):
                return hashlib.sha256(self._fetcher.fetch(uri, _LARGEST)).hexdigest()
            if not Path(uri).is_file():
                return None
            with Path(uri).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (DecodeError, OSError, ValueError):
            return None
