"""URIs of members of container files, and the interface of an open container."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

_BORDER = re.compile(r"\.(?:parquet|pq|tar|zip)#", re.IGNORECASE)


class Container(Protocol):
    """An open file of members that are looked up by key."""

    def read(self, key: str, max_bytes: int) -> bytes:
        """Return the encoded bytes of a member; DecodeError as in `fetch`."""
        ...

    def close(self) -> None: ...


def split(uri: str) -> tuple[str, str] | None:
    """Return the container and the key of an absolute URI "FILE#KEY"; None for the path of a file.

    A file whose own name looks like "FILE#KEY" takes precedence.
    """
    if not _BORDER.search(uri) or os.path.lexists(uri):
        return None
    for border in _BORDER.finditer(uri):
        path = uri[: border.end() - 1]
        if Path(path).is_file():
            return path, uri[border.end() :]
    return None


def is_remote(uri: str) -> bool:
    """Return whether a URI is that of an object in a store, such as s3://bucket/a.jpg."""
    return "://" in uri


def is_contained(uri: str) -> bool:
    """Return whether an image has no file of its own: its bytes are in a Parquet, tar or zip file, or in an object
    store.

    Read such images in one process and in the order of the file: each process that reads them has to open the file and
    decode everything before them.
    """
    return is_remote(uri) or split(uri) is not None
