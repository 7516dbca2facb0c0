"""Digests of images: of those that the source holds now, and of those that were embedded."""

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

# What is read of a container at most for one image; a file is read in pieces, however long it is.
_LARGEST = 4 << 30


@dataclass(frozen=True)
class EmbeddedImage:
    """An image that was embedded: the length of its encoded bytes and their SHA-256, None where it is not known."""

    bytes: int
    sha256: str | None


class EmbeddedImages:
    """The images of each part, by number; reads some parts and keeps the last ones."""

    def __init__(self, storage: Storage, paths: Mapping[int, str]) -> None:
        self._storage, self._paths = storage, paths
        self.of_part = functools.lru_cache(maxsize=8)(self._of_part)

    def _of_part(self, number: int) -> dict[int, EmbeddedImage]:
        """The images of a part of the listing that were embedded, by id; none where no run got there."""
        path = self._paths.get(number)
        if path is None or not self._storage.exists(path):
            return {}
        rows = read_part(self._storage, path, ["id", "bytes", "sha256"]).to_pylist()
        return {row["id"]: EmbeddedImage(row["bytes"], row["sha256"]) for row in rows}


class SourceDigests:
    """The SHA-256 of images as the source holds them now. The `with` block closes the containers that were read."""

    def __init__(self) -> None:
        self._fetcher = Fetcher()

    def __enter__(self) -> SourceDigests:
        return self

    def __exit__(self, *error: object) -> None:
        self._fetcher.close()

    def of(self, uri: str) -> str | None:
        """The digest of an image by its absolute URI; None when it cannot be read."""
        try:
            if is_contained(uri):
                return hashlib.sha256(self._fetcher.fetch(uri, _LARGEST)).hexdigest()
            if not Path(uri).is_file():
                return None
            with Path(uri).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (DecodeError, OSError, ValueError):
            return None
