"""A generation in plain data, for people and for the wire alike."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from lookalike_indexer.collection.current import default_index
from lookalike_indexer.collection.manifest import ClusteringEntry, IndexEntry
from lookalike_indexer.collection.reader import CollectionReader


def describe(reader: CollectionReader) -> dict[str, Any]:
    """The fields of lookalike.v1.GetCollectionResponse, with plain values."""
    manifest = reader.manifest
    labels = reader.images(["label"]).column("label")
    return {
        "name": reader.name,
        "generation": manifest.generation,
        "images": len(labels),
        "rejects": max((manifest.rows(model.rejects) for model in manifest.models.values()), default=0),
        "labels": pc.count_distinct(labels, mode="only_valid").as_py(),
        "default_space": manifest.default_space,
        "spaces": [_space(reader, name) for name in sorted(manifest.spaces)],
        "clusterings": [_clustering(name, entry) for name, entry in sorted(manifest.clusterings.items())],
    }


def _space(reader: CollectionReader, name: str) -> dict[str, Any]:
    space = reader.manifest.spaces[name]
    model = reader.manifest.models[space.model].spec
    chosen = default_index(reader.manifest, name)
    index = None if chosen is None else reader.manifest.indexes[chosen]
    return {
        "name": name,
        "model": model.arch,
        "weights": str(model.weights),
        "pretrained": model.weights.pretrained,
        "layer": space.layer,
        "pooling": space.pooling,
        "dim": space.dim,
        "images": space.rows,
        "fingerprint": space.fingerprint,
        "index": None if index is None else _index(index),
    }


def _index(entry: IndexEntry) -> dict[str, Any]:
    return {
        "factory": entry.factory,
        "metric": entry.metric,
        "nlist": entry.nlist,
        "default_nprobe": entry.default_nprobe,
        "recall": [{"nprobe": point.nprobe, "recall": point.recall} for point in entry.recall],
        "images": entry.rows,
    }


def _clustering(name: str, entry: ClusteringEntry) -> dict[str, Any]:
    return {
        "name": name,
        "space": entry.space,
        "k": entry.k,
        "spherical": entry.spherical,
        "inertia": entry.inertia[-1] if entry.inertia else 0.0,
        "images": entry.rows,
    }
