"""The neighbours of one query and of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lookalike._columns import Columns, Float32, Int32, Int64, preview
from lookalike._served import Served


class Neighbor(NamedTuple):
    """One neighbour of a query. `uri` is None unless it was asked for."""

    id: int
    key: str
    label: str | None
    distance: float
    uri: str | None


@dataclass(frozen=True, eq=False, repr=False)
class Neighbors(Columns[Neighbor]):
    """The neighbours of one query as columns of length m <= k, nearest first, equal distances by ascending id.

    ids: int64, (m,). distances: float32, (m,): 1 - cosine similarity, or the
    Euclidean distance, as the index measures. labels: None where an image has
    none. uris: where each image's bytes are; None unless asked for. error: why
    there are none, where the query failed with errors="rows". Arrays are
    read-only.
    """

    ids: Int64
    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    distances: Float32
    uris: tuple[str, ...] | None
    served: Served
    error: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def _row(self, index: int) -> Neighbor:
        uri = None if self.uris is None else self.uris[index]
        return Neighbor(int(self.ids[index]), self.keys[index], self.labels[index], float(self.distances[index]), uri)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Neighbors 0: {self.error}>"
        return f"<Neighbors {len(self)}: {preview(self.keys, self.distances)}>"


@dataclass(frozen=True, eq=False, repr=False)
class NeighborsBatch(Columns[Neighbors]):
    """The neighbours of n queries; `batch[i]` and iteration give the Neighbors of each.

    The columns hold those of query 0 first, then those of query 1, and so on:
    query i has the rows offsets[i]:offsets[i + 1]. counts: int32, (n,). offsets:
    int64, (n + 1,). ids: int64, (sum of counts,). distances: float32, likewise.
    errors: with errors="rows", why a query has no neighbours, by its row. Arrays
    are read-only.
    """

    counts: Int32
    offsets: Int64
    ids: Int64
    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    distances: Float32
    uris: tuple[str, ...] | None
    served: Served
    errors: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.counts)

    def _row(self, index: int) -> Neighbors:
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        uris = None if self.uris is None else self.uris[rows]
        keys, labels, error = self.keys[rows], self.labels[rows], self.errors.get(index)
        return Neighbors(self.ids[rows], keys, labels, self.distances[rows], uris, self.served, error)

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"<NeighborsBatch of {len(self)} queries, {len(self.ids)} neighbours{failed}>"
