"""Files that hold many images: how a URI names a member, and what a reader of members offers."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

_BORDER = re.compile(r"\.(?:parquet|pq|tar|zip)#", re.IGNORECASE)


class Container(Protocol):
    """An open file of members, which are found by key."""

    def read(self, key: str, max_bytes: int) -> bytes:
        """The encoded bytes of a member; DecodeError as `fetch`."""
        ...

    def close(self) -> None: ...


def split(uri: str) -> tuple[str, str] | None:
    """The container and the key that an absolute URI "FILE#KEY" names; None for the path of a file.

    A file whose own name looks like "FILE#KEY" comes first.
    """
    if not _BORDER.search(uri) or os.path.lexists(uri):
        return None
    for border in _BORDER.finditer(uri):
        path = uri[: border.end() - 1]
        if Path(path).is_file():
            return path, uri[border.end() :]
    return None


def is_remote(uri: str) -> bool:
    """Whether a URI is that of an object in a store, such as s3://bucket/a.jpg."""
    return "://" in uri


def is_contained(uri: str) -> bool:
    """Whether an image's bytes lie in a Parquet, tar or zip file, or in an object store: it has no file of its own.

    Read such images in one process and in the order of the file: every
    process that reads them has to open the file and decode what lies before.
    """
    return is_remote(uri) or split(uri) is not None
