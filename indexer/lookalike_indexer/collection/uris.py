"""URIs of images: stored relative to the source's root folder, so that the folder may move."""

from __future__ import annotations

import posixpath

from lookalike_indexer.collection import kept_pictures
from lookalike_indexer.collection.manifest import SourceEntry


def root(source: SourceEntry) -> str:
    """The folder that the source's relative URIs start from: the folder itself, or the one that holds the file."""
    return source.uri if source.kind in {"directory", "shards"} else posixpath.dirname(source.uri)


def stored(source: SourceEntry, uri: str, key: str, kept: str) -> str:
    """The absolute URI of a row of the collection's tables, whose `key` is needed for those of format 1.

    Format 1 named a row of a Parquet file by its number, "/FOLDER/FILE#ROW". Now rows are named by key, and relative.
    `kept` is where the collection keeps pictures itself, see `kept_pictures.folder`.
    """
    if kept_pictures.is_kept(uri):
        return kept_pictures.absolute(uri, kept)
    return absolute(source, by_key(source, uri, key))


def by_key(source: SourceEntry, uri: str, key: str) -> str:
    """A stored URI that names a row of a Parquet file by its key, where format 1 named it by its number."""
    if source.kind != "parquet" or not uri.startswith("/"):
        return uri
    return f"{uri.rpartition('#')[0]}#{key}"


def absolute(source: SourceEntry, uri: str) -> str:
    """A URI of the source as `fetch` takes it; an absolute or empty one is returned unchanged."""
    return posixpath.join(root(source), uri) if uri else ""
