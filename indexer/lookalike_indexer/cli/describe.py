"""The description of a collection folder that `lookalike info DIR` prints, with the same facts as a server's."""

from __future__ import annotations

from typing import Any

from lookalike_indexer.cli.errors import reported


@reported
def describe_folder(path: str) -> dict[str, Any]:
    """Describe the newest generation of the collection in `path`, in the shape of GetCollectionResponse."""
    from lookalike_indexer.collection.description import describe
    from lookalike_indexer.collection.reader import CollectionReader

    return describe(CollectionReader.open(path))
