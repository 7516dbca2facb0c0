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


def groups(reader: CollectionReader, space: str, places: Sequence[int], times: int = 1) -> Iterator[Group]:
    """Yield the parts at some places of a space's list in groups, `times` as large as usual.

    Raise IndexerError if an embedding is not finite.
    """
    _, entry = reader.space(space)
    room = max(1, times * _HELD // (4 * entry.dim))
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
    rows = sum(reader.manifest.files[entry.parts[place]].rows or 0 for place in places)
    every, vectors, ends = np.empty(rows, np.int64), np.empty((rows, entry.dim), np.float32), []
    start = 0
    for place in places:
        for ids, block in reader.stream_part(entry.parts[place]):
            some = slice(start, start + len(ids))
            every[some], vectors[some] = ids, block
            start = some.stop
        ends.append(start)
    # There are fewer rows if images were deleted.
    every, vectors = every[:start], vectors[:start]
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise IndexerError(
            f"The embedding of image {every[~finite][0]} in the space {space} holds NaN or infinite values: embed it "
            "again, with --dtype float32 in case it did not fit float16."
        )
    return Group(list(places), np.array(ends, np.int64), every, vectors)
