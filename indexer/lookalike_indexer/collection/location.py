"""Storage of a collection by its location: a folder, or a prefix of an object store."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lookalike_indexer.collection.storage import Storage


def open_storage(location: str | os.PathLike[str]) -> Storage:
    """Open the storage of a collection: a path, file:///PATH, s3://, gs:// or az://BUCKET/PREFIX.

    Raise UsageError if the kind of URL is unknown, or its package is not installed.
    """
    text = str(location)
    if text.startswith("file://"):
        return Storage(Path(unquote(urlsplit(text).path)))
    if "://" not in text:
        return Storage(location)
    # Import it here, so that a collection in a folder does not need the package.
    from lookalike_indexer.collection.objects.storage import ObjectStorage

    return ObjectStorage(text)
