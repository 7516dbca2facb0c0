"""Groups of parts that are compared with a space in one pass: larger groups need fewer passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import IndexerError

# Bytes of embeddings held for one pass.
_HELD = 1 << 28


@dataclass(frozen=True)
class Group:
    """The images of some parts: their places among the parts of the space, the end row of each, ids and embeddings."""

    places: Sequence[int]
    ends: Int64
    ids: Int64
    vectors: Float32


def groups(reader: CollectionReader, space: str, places: Sequence[int]) -> Iterator[Group]:
    """Yield the parts at some places of a space's list in groups. Raise IndexerError if an embedding is not finite."""
    _, entry = reader.space(space)
    room = max(1, _HELD // (4 * entry.dim))
    held: list[int] = []
    rows = 0
    for place in places:
        size = reader.manifest.files[entry.parts[place]].rows or 0
        if held and rows + size > room:
            yield _read(reader, space, held)
            held, rows = [], 0
        held.append(place)
        rows += size
    if held:
        yield _read(reader, space, held)


def _read(reader: CollectionReader, space: str, places: Sequence[int]) -> Group:
    _, entry = reader.space(space)
    ids, blocks, ends = [np.empty(0, np.int64)], [np.empty((0, entry.dim), np.float32)], []
    for place in places:
        for some, vectors in reader.stream_part(entry.parts[place]):
            ids.append(some)
            blocks.append(vectors)
        ends.append(sum(map(len, ids)))
    every, vectors = np.concatenate(ids), np.concatenate(blocks)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise IndexerError(
            f"The embedding of image {every[~finite][0]} in the space {space} holds NaN or infinite values: embed it "
            "again, with --dtype float32 in case it did not fit float16."
        )
    return Group(list(places), np.array(ends, np.int64), every, vectors)
