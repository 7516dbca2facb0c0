"""Lists of nearest neighbors: ids and distances, in the same order for all methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection import schema
from lookalike_indexer.collection.arrow_numbers import to_arrow
from lookalike_indexer.collection.parts import write_part
from lookalike_indexer.collection.storage import Storage


@dataclass(frozen=True)
class Neighbors:
    """The nearest neighbors of some images: ids int64 and distances float32, both of shape (n, k), nearest first.

    Equal distances are ordered by ascending id. Shorter lists end with -1 at distance infinity.
    """

    ids: Int64
    distances: Float32


def nearest(ids: Int64, distances: Float32, own: Int64, k: int) -> Neighbors:
    """Return the k nearest of candidates (n, m), without the image itself, whose id is `own` (n,); -1 means none.

    A candidate may occur twice.
    """
    gone = (ids < 0) | (ids == own[:, None])
    distances = np.where(gone, np.float32(np.inf), distances)
    # Missing candidates sort last, after every id.
    ranked = np.where(gone, np.iinfo(np.int64).max, ids)
    order = np.lexsort((ranked, distances), axis=1)
    ranked, distances = (np.take_along_axis(each, order, axis=1) for each in (ranked, distances))
    again = np.zeros(ranked.shape, np.bool_)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    kept = np.argsort(again, axis=1, kind="stable")[:, :k]
    ranked, distances, again = (np.take_along_axis(each, kept, axis=1) for each in (ranked, distances, again))
    gone = again | (ranked == np.iinfo(np.int64).max)
    found = np.where(gone, -1, ranked)
    far = np.where(gone, np.float32(np.inf), distances)
    short = k - found.shape[1]
    if short > 0:
        found = np.pad(found, ((0, 0), (0, short)), constant_values=-1)
        far = np.pad(far, ((0, 0), (0, short)), constant_values=np.inf)
    return Neighbors(found, far.astype(np.float32, copy=False))


def merged(one: Neighbors, other: Neighbors, own: Int64) -> Neighbors:
    """Return the nearest of two lists for the same images; as many as the first has."""
    return nearest(
        np.concatenate([one.ids, other.ids], axis=1),
        np.concatenate([one.distances, other.distances], axis=1),
        own,
        one.ids.shape[1],
    )


def write_neighbors(storage: Storage, path: str, own: Int64, found: Neighbors) -> None:
    """Write a part of a graph: the lists of the images `own` (n,)."""
    columns = schema.graph(found.ids.shape[1])
    lists = [
        pa.FixedSizeListArray.from_arrays(to_arrow(values.ravel()), type=columns.field(name).type)
        for name, values in (("neighbor", found.ids), ("distance", found.distances))
    ]
    write_part(storage, path, pa.table([to_arrow(own), *lists], schema=columns))
