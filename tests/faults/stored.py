"""Comparison of a collection's stored data with everything that its source ever held."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Set

import numpy as np
import torch
from tests.faults.source import ChangingSource

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.embedding.stored_network import stored_module
from lookalike_indexer.images.prepare import Prepared, prepare
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace

# Far above the sum of rounding errors, far below the difference of two images.
_TOLERANCE = 5e-3


def wrong_vectors(reader: CollectionReader, space: str, source: ChangingSource) -> Iterator[str]:
    """Yield each stored vector that does not belong to its digest's bytes, or whose key never held these bytes."""
    torch.set_num_threads(1)
    images = {row["id"]: row for row in reader.images(["id", "key", "sha256"]).to_pylist()}
    entry = reader.manifest.spaces[space]
    preprocessing = reader.manifest.models[entry.model].spec.preprocessing
    network = Network(
        trace(stored_module(reader, entry.model)), [Node(entry.layer, entry.pooling)], preprocessing, "cpu", "float32"
    )
    for ids, vectors in reader.stream(space):
        for image_id, vector in zip(ids.tolist(), vectors, strict=True):
            key, digest = images[image_id]["key"], images[image_id]["sha256"]
            if digest not in source.held[key]:
                yield f"the image {key} has a digest that its file never had"
                continue
            picture = prepare(source.known[digest], preprocessing, ImageLimits())
            if not isinstance(picture, Prepared):
                yield f"the image {key} was embedded, and its bytes are no image"
                continue
            expected = network.embed([picture.pixels]).embeddings[0][0]
            error = float(np.linalg.norm(vector - expected) / np.linalg.norm(expected))
            if not error < _TOLERANCE:
                yield f"the vector of {key} in {space} is off by {error:.2g} from that of its bytes"


def not_unique(reader: CollectionReader, deleted: Set[str]) -> Iterator[str]:
    """Yield each key with several images, and each deleted key that has an image."""
    counts = Counter(reader.images(["key"]).column("key").to_pylist())
    yield from (f"{key} has {count} images" for key, count in sorted(counts.items()) if count > 1)
    yield from (f"{key} was deleted, and has an image" for key in sorted(deleted & counts.keys()))


def not_followed(reader: CollectionReader, source: ChangingSource) -> Iterator[str]:
    """Yield each image without the source's current bytes, if a look at the files could tell."""
    for row in reader.images(["key", "sha256"]).to_pylist():
        now = source.pictures.get(row["key"])
        if now is None:
            yield f"{row['key']} is an image, and not in the source"
        elif row["key"] not in source.unseen and hashlib.sha256(now).hexdigest() != row["sha256"]:
            yield f"{row['key']} is an image of other bytes than the source has"


def left_out(
    reader: CollectionReader, model: str, source: ChangingSource, deleted: Set[str] = frozenset()
) -> Iterator[str]:
    """Yield images of the source that a complete model neither has nor rejects, and images with wrong labels."""
    images = {row["key"]: row for row in reader.images(["id", "key", "label"]).to_pylist()}
    rejected = {row["key"] for row in reader.rejects(model).to_pylist()}
    for key in sorted(source.pictures.keys() - images.keys() - rejected - deleted):
        yield f"{key} is neither an image nor a reject of {model}"
    for space, entry in sorted(reader.manifest.spaces.items()):
        there = set(reader.ids(space).tolist()) if entry.model == model else None
        for key, row in sorted(images.items()):
            if there is not None and row["id"] not in there and key not in rejected:
                yield f"{space} has no vector of {key}, and {key} is no reject of {model}"
    for key, label in sorted(source.labels.items()):
        if key in source.pictures and key in images and images[key]["label"] != label:
            yield f"{key} has the label {images[key]['label']}, and the labels file says {label}"
