"""URIs of images: stored relative to the source's root folder, so that the folder may move."""

from __future__ import annotations

import posixpath

from lookalike_indexer.collection.manifest import SourceEntry


def root(source: SourceEntry) -> str:
    """The folder that the source's relative URIs start from: the folder itself, or the one that holds the file."""
    return source.uri if source.kind in {"directory", "shards"} else posixpath.dirname(source.uri)


def absolute(source: SourceEntry, uri: str) -> str:
    """A URI of the source as `fetch` takes it; an absolute or empty one is returned unchanged."""
    return posixpath.join(root(source), uri) if uri else ""
