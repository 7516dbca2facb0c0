"""Consistency checks of a manifest: its parts fit together and name nothing outside of the collection.

A manifest's checksum shows that it is unchanged, not who wrote it.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import PurePosixPath

from lookalike_indexer.collection.manifest import ClusteringEntry, IndexEntry, Manifest
from lookalike_indexer.collection.schema import ATTRIBUTE_TYPES
from lookalike_indexer.errors import DataLossError


def check(manifest: Manifest, named: Set[str], name: str) -> None:
    """Raise DataLossError if a manifest refers to something missing or forbidden; `name` is the manifest's, for
    messages.

    `named` are the files that its entries refer to.
    """
    for path in manifest.files:
        if not is_inside(path):
            raise DataLossError(f"{name} names the file {path!r}, which is not a path inside a collection.")
    for path in named:
        if path not in manifest.files:
            raise DataLossError(f"{name} needs the file {path!r}, but does not list it.")
    for space, entry in manifest.spaces.items():
        if entry.model not in manifest.models:
            raise DataLossError(f"{name} has the space {space!r} of a model that it does not have, {entry.model!r}.")
        if entry.dim < 1 or entry.rows < 0:
            raise DataLossError(f"{name} has the space {space!r} with {entry.rows} rows of {entry.dim} dimensions.")
    for table, attributes in manifest.attributes.items():
        for column in attributes.columns:
            if column.type not in ATTRIBUTE_TYPES:
                raise DataLossError(
                    f"{name} has the attribute {column.name!r} of {table!r} with an unknown type, {column.type!r}."
                )
    made: list[tuple[str, ClusteringEntry | IndexEntry]] = [*manifest.clusterings.items(), *manifest.indexes.items()]
    for key, one in made:
        if one.space not in manifest.spaces:
            raise DataLossError(f"{name} has {key!r} of a space that it does not have, {one.space!r}.")
        if key != f"{one.space}/{one.name}":
            raise DataLossError(f"{name} lists {one.space}/{one.name} under another name, {key!r}.")
    for key, index in manifest.indexes.items():
        if index.base_rows < 0 or any(one.rows < 1 for one in index.increments):
            raise DataLossError(f"{name} has the index {key!r} with increments that do not fit its {index.rows} rows.")
    for space, graph in manifest.graphs.items():
        if space != graph.space or space not in manifest.spaces:
            raise DataLossError(f"{name} has the graph {space!r} of another space, or of one that it does not have.")
        if graph.k < 1 or len(graph.parts) != len(graph.neighbors):
            raise DataLossError(f"{name} has the graph {space!r} with k = {graph.k} and parts that do not pair up.")
    for key, clustering in manifest.clusterings.items():
        if bool(clustering.whitening) != (clustering.strategy == "whitened"):
            raise DataLossError(f"{name} has {key!r} of the strategy {clustering.strategy} with another one's files.")


def is_inside(path: str) -> bool:
    """Return whether a path of a manifest stays within the folder that it is relative to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and path.isprintable()
