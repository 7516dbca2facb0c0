"""Results of searches: the neighbors of one query and of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from lookalike._attributes import NO_VALUES, Attributes
from lookalike._columns import Columns, Float32, Int32, Int64, preview
from lookalike._metrics import Metric, measured
from lookalike._notebook import html
from lookalike._notebook.frames import Column
from lookalike._notebook.shown import foot, strip
from lookalike._notebook.thumbnails import MOST_PICTURES
from lookalike._served import Served

# Number of queries of a batch that a notebook shows.
_MOST_QUERIES = 8


class Neighbor(NamedTuple):
    """One neighbor of a query. `uri` is None unless requested; `attributes` has the requested columns."""

    id: int
    key: str
    label: str | None
    distance: float
    uri: str | None
    attributes: Mapping[str, Any] = NO_VALUES


@dataclass(frozen=True, eq=False, repr=False)
class Neighbors(Columns[Neighbor]):
    """The neighbors of one query as columns of length m <= k, nearest first; ties are sorted by id.

    - `ids`: int64, (m,).
    - `labels`: None where an image has no label.
    - `distances`: float32, (m,): 1 - cosine similarity if `metric` is "cosine", Euclidean if it is "l2".
    - `uris`: the location of each image's bytes; None unless requested.
    - `error`: the reason if the query failed with errors="rows"; else None.
    - `attributes`: the requested columns.
    - `vectors`: float32, (m, dim), the stored vectors; None unless requested.
    - `group_sizes`: with `group_by`, the number of neighbors in each group, in the order of the rows; else None.

    Arrays are read-only.
    """

    ids: Int64
    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    distances: Float32
    uris: tuple[str, ...] | None
    served: Served
    error: str | None = None
    attributes: Attributes = field(default_factory=Attributes)
    vectors: Float32 | None = None
    group_sizes: tuple[int, ...] | None = None
    metric: Metric = "unknown"

    _sliced: ClassVar = ("ids", "keys", "labels", "distances", "uris", "attributes", "vectors")

    @property
    def groups(self) -> tuple[Neighbors, ...]:
        """The neighbors of each group, the group of the nearest first; one group of all without `group_by`."""
        if self.group_sizes is None:
            return (self,)
        ends = np.cumsum(self.group_sizes).tolist()
        return tuple(self[end - size : end] for size, end in zip(self.group_sizes, ends, strict=True))

    def _slice(self, rows: slice) -> Self:
        # A slice may cut groups, so it has none.
        return dataclasses.replace(super()._slice(rows), group_sizes=None)

    def __len__(self) -> int:
        return len(self.ids)

    def _table(self) -> Mapping[str, Column]:
        return _columns(self)

    def _repr_html_(self) -> str:
        gallery = self._gallery(self.ids.tolist(), self.keys)
        title = html.heading("Neighbors", faint=f"{len(self)}, nearest first, by {measured(self.metric)}")
        failed = html.note(self.error) if self.error is not None else ""
        pictures = strip(gallery, self.ids.tolist(), self.keys, _lines(self))
        return html.box(title, failed, pictures, foot(self.served, gallery))

    def _row(self, index: int) -> Neighbor:
        uri = None if self.uris is None else self.uris[index]
        return Neighbor(
            int(self.ids[index]),
            self.keys[index],
            self.labels[index],
            float(self.distances[index]),
            uri,
            self.attributes.row(index),
        )

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Neighbors 0: {self.error}>"
        return f"<Neighbors {len(self)}: {preview(self.keys, self.distances)}>"


@dataclass(frozen=True, eq=False, repr=False)
class NeighborsBatch(Columns[Neighbors]):
    """The neighbors of n queries; `batch[i]` and iteration return the Neighbors of each query.

    The columns hold the neighbors of query 0 first, then those of query 1, and so on:
    query i has the rows offsets[i]:offsets[i + 1].

    - `counts`: int32, (n,).
    - `offsets`: int64, (n + 1,).
    - `ids`: int64, (sum of counts,).
    - `distances`: float32, (sum of counts,).
    - `errors`: with errors="rows", the reason for each failed query, by its row.
    - `attributes`: the requested columns.
    - `vectors`: float32, (sum of counts, dim); None unless requested.
    - `group_sizes`: the group sizes of each query; None without `group_by`.

    Arrays are read-only.
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
    attributes: Attributes = field(default_factory=Attributes)
    vectors: Float32 | None = None
    group_sizes: tuple[tuple[int, ...], ...] | None = None
    metric: Metric = "unknown"

    def __len__(self) -> int:
        return len(self.counts)

    def _slice(self, rows: slice) -> Self:
        wanted = range(len(self))[rows]
        counts = self.counts[rows]
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        hits = [hit for row in wanted for hit in range(int(self.offsets[row]), int(self.offsets[row + 1]))]
        ids, distances = self.ids[hits], self.distances[hits]
        for array in (offsets, ids, distances):
            array.setflags(write=False)
        return dataclasses.replace(
            self,
            counts=counts,
            offsets=offsets,
            ids=ids,
            keys=tuple(self.keys[hit] for hit in hits),
            labels=tuple(self.labels[hit] for hit in hits),
            distances=distances,
            uris=None if self.uris is None else tuple(self.uris[hit] for hit in hits),
            errors={place: self.errors[row] for place, row in enumerate(wanted) if row in self.errors},
            attributes=self.attributes.take(hits),
            vectors=None if self.vectors is None else _read_only(self.vectors[hits]),
            group_sizes=None if self.group_sizes is None else self.group_sizes[rows],
        )

    def _table(self) -> Mapping[str, Column]:
        """Return one row for each neighbor, with the row of its query in the batch."""
        return {"query": np.repeat(np.arange(len(self)), self.counts), **_columns(self)}

    def _repr_html_(self) -> str:
        shown = self[:_MOST_QUERIES]
        gallery = shown._gallery(shown.ids.tolist(), shown.keys)
        most = max(1, MOST_PICTURES // max(1, len(shown)))
        parts = []
        for query, near in enumerate(shown):
            about = f"{len(near)} neighbors, by {measured(near.metric)}"
            parts.append(html.heading(f"Query {query}", faint=near.error or about))
            parts.append(strip(gallery, near.ids.tolist(), near.keys, _lines(near), most))
        left = len(self) - len(shown)
        more = html.note(f"... and {left:,} more queries; a slice shows others.") if left else ""
        return html.box(*parts, more, foot(self.served, gallery))

    def _row(self, index: int) -> Neighbors:
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        uris = None if self.uris is None else self.uris[rows]
        keys, labels, error = self.keys[rows], self.labels[rows], self.errors.get(index)
        ids, distances, attributes = self.ids[rows], self.distances[rows], self.attributes[rows]
        vectors = None if self.vectors is None else self.vectors[rows]
        sizes = None if self.group_sizes is None else self.group_sizes[index]
        return Neighbors(
            ids, keys, labels, distances, uris, self.served, error, attributes, vectors, sizes, self.metric
        )

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"<NeighborsBatch of {len(self)} queries, {len(self.ids)} neighbors{failed}>"


def _read_only(array: Float32) -> Float32:
    array.setflags(write=False)
    return array


def _columns(found: Neighbors | NeighborsBatch) -> dict[str, Column]:
    columns: dict[str, Column] = {
        "id": found.ids,
        "key": found.keys,
        "label": found.labels,
        "distance": found.distances,
    }
    if found.uris is not None:
        columns["uri"] = found.uris
    if found.vectors is not None:
        columns["vector"] = found.vectors
    return found.attributes.beside(columns)


def _lines(near: Neighbors) -> list[tuple[str, str]]:
    distances = near.distances.tolist()
    return [(label or "", f"{distance:.4g}") for label, distance in zip(near.labels, distances, strict=True)]
