"""URIs of images, stored relative to the source's root folder, so that the folder can be moved."""

from __future__ import annotations

import posixpath

from lookalike_indexer.collection import uploaded_images
from lookalike_indexer.collection.manifest import SourceEntry


def root(source: SourceEntry) -> str:
    """Return the folder that the source's relative URIs start from: the folder itself, or that of the file."""
    return source.uri if source.kind in {"directory", "shards"} else posixpath.dirname(source.uri)


def stored(source: SourceEntry, uri: str, key: str, kept: str) -> str:
    """Return the absolute URI of a row of the collection's tables; its `key` is needed for URIs of format 1.

    Format 1 identifies a row of a Parquet file by its number, "/FOLDER/FILE#ROW". Later formats use the key, and are
    relative. `kept` is the folder of uploaded images, see `uploaded_images.folder`.
    """
    if uploaded_images.is_uploaded(uri):
        return uploaded_images.absolute(uri, kept)
    return absolute(source, by_key(source, uri, key))


def by_key(source: SourceEntry, uri: str, key: str) -> str:
    """Return a stored URI with a Parquet file's row identified by its key; format 1 identifies it by its number."""
    if source.kind != "parquet" or not uri.startswith("/"):
        return uri
    return f"{uri.rpartition('#')[0]}#{key}"


def absolute(source: SourceEntry, uri: str) -> str:
    """Return a URI of the source in the form that `fetch` takes; return an absolute or empty one unchanged."""
    return posixpath.join(root(source), uri) if uri else ""
