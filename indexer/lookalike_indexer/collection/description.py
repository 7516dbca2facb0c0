"""Description of a generation as plain data, for display and for the protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.current import covers, default_clustering, default_index
from lookalike_indexer.collection.manifest import ClusteringEntry, IndexEntry
from lookalike_indexer.collection.reader import CollectionReader


def describe(reader: CollectionReader, served: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the fields of lookalike.v1.GetCollectionResponse as plain values.

    `served` maps each space to the name of the index that a server searches. Spaces that it lacks use their current
    index.
    """
    manifest = reader.manifest
    images = reader.images(["id", "label"])
    labels = images.column("label")
    return {
        "name": reader.name,
        "generation": manifest.generation,
        "images": len(labels),
        "deleted": manifest.rows(manifest.images) - len(labels),
        "rejects": max((len(reader.rejects(name)) for name in manifest.models), default=0),
        "labels": pc.count_distinct(labels, mode="only_valid").as_py(),
        "default_space": manifest.default_space,
        "spaces": [_space(reader, name, (served or {}).get(name)) for name in sorted(manifest.spaces, key=natural)],
        "clusterings": [
            _clustering(reader, name, entry)
            for name, entry in sorted(manifest.clusterings.items(), key=lambda each: natural(each[0]))
        ],
        "attributes": [
            {"table": name, **dataclasses.asdict(column)}
            for name, entry in sorted(manifest.attributes.items())
            for column in entry.columns
        ],
    }


def _space(reader: CollectionReader, name: str, served: str | None) -> dict[str, Any]:
    space = reader.manifest.spaces[name]
    model = reader.manifest.models[space.model].spec
    chosen = default_index(reader.manifest, name) if served is None else f"{name}/{served}"
    indexes = {
        key: _index(reader, entry) for key, entry in sorted(reader.manifest.indexes.items()) if entry.space == name
    }
    return {
        "name": name,
        "model": model.arch,
        "weights": str(model.weights),
        "pretrained": model.weights.pretrained,
        "layer": space.layer,
        "pooling": space.pooling,
        "dim": space.dim,
        "images": reader.space(name)[1].rows,
        "fingerprint": space.fingerprint,
        "index": None if chosen is None else indexes[chosen],
        "indexes": list(indexes.values()),
        "default_clustering": default_clustering(reader.manifest, name) or "",
        "takes_text": reader.manifest.space_spec(name).takes_text,
    }


def _index(reader: CollectionReader, entry: IndexEntry) -> dict[str, Any]:
    return {
        "factory": entry.factory,
        "metric": entry.metric,
        "nlist": entry.nlist,
        "default_nprobe": entry.default_nprobe,
        "recall": [{"k": each.k, "nprobe": each.nprobe, "recall": each.recall} for each in entry.recall],
        "images": _images(reader, entry),
        "name": entry.name,
        "missing": _missing(reader, entry),
    }


def _clustering(reader: CollectionReader, name: str, entry: ClusteringEntry) -> dict[str, Any]:
    return {
        "name": name,
        "space": entry.space,
        "k": entry.k,
        "strategy": entry.strategy,
        "spherical": entry.strategy == "spherical",
        "inertia": entry.inertia[-1] if entry.inertia else 0.0,
        "images": _images(reader, entry),
        "missing": _missing(reader, entry),
    }


def _images(reader: CollectionReader, entry: ClusteringEntry | IndexEntry) -> int:
    """Return the number of images in a clustering or an index that are not deleted."""
    if not len(reader.deleted):
        return entry.rows
    return int(np.count_nonzero(reader.live(reader.ids_of(reader.manifest.parts_of(entry))[: entry.rows])))


def _missing(reader: CollectionReader, entry: ClusteringEntry | IndexEntry) -> int:
    """Return the number of images of the space that are missing from a clustering or an index."""
    if covers(reader.manifest, entry):
        return 0
    there = reader.ids_of(reader.manifest.parts_of(entry))
    # Format 1 does not list the parts; its entries cover the first rows.
    return int(np.count_nonzero(~np.isin(reader.ids(entry.space), there[: entry.rows])))
