"""Results of cluster lookups: the clusters of a query and their members."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self, SupportsIndex, overload

import numpy as np

from lookalike._attributes import NO_VALUES, Attributes
from lookalike._columns import Columns, Float32, Int32, Int64, preview
from lookalike._metrics import Metric, heading, measured
from lookalike._notebook import html
from lookalike._notebook.frames import Column
from lookalike._notebook.shown import foot, strip
from lookalike._notebook.thumbnails import Illustrated, Source
from lookalike._served import Served


class Member(NamedTuple):
    """A member of a cluster. `distance` and `margin` are as in Members; `attributes` has the requested columns."""

    id: int
    key: str
    label: str | None
    distance: float
    margin: float
    attributes: Mapping[str, Any] = NO_VALUES


@dataclass(frozen=True, eq=False, repr=False)
class Members(Columns[Member]):
    """Members of a cluster as columns of length m, nearest to the centroid first.

    - `ids`: int64, (m,).
    - `labels`: None where an image has no label.
    - `distances`: float32, (m,): the distance to the centroid in `metric`, see Membership.
    - `margins`: float32, (m,): the distance to the next nearest centroid less that to the own one.
    - `attributes`: the requested columns.

    Arrays are read-only.
    """

    ids: Int64
    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    distances: Float32
    margins: Float32
    attributes: Attributes = field(default_factory=Attributes)
    metric: Metric = "unknown"

    _sliced: ClassVar = ("ids", "keys", "labels", "distances", "margins", "attributes")

    def __len__(self) -> int:
        return len(self.ids)

    def _table(self) -> Mapping[str, Column]:
        columns: dict[str, Column] = {
            "id": self.ids,
            "key": self.keys,
            "label": self.labels,
            "distance": self.distances,
            "margin": self.margins,
        }
        return self.attributes.beside(columns)

    def _repr_html_(self) -> str:
        about = f"{len(self)}, nearest to the centroid first, by {measured(self.metric)}"
        return html.box(html.heading("Members", faint=about), _strip(self))

    def _row(self, index: int) -> Member:
        return Member(
            int(self.ids[index]),
            self.keys[index],
            self.labels[index],
            float(self.distances[index]),
            float(self.margins[index]),
            self.attributes.row(index),
        )

    def __repr__(self) -> str:
        return f"<Members {len(self)}: {preview(self.keys, self.distances)}>"


@dataclass(frozen=True)
class Membership(Illustrated):
    """The cluster of one query in one clustering.

    - `clustering`: "space/name".
    - `cluster`: the number of the cluster; -1 if a stored image has no assignment, or the query failed.
    - `distance`: the distance to the centroid: 1 - cosine similarity if `metric` is "cosine", Euclidean if it is "l2".
      In a whitened clustering it is between whitened embeddings.
    - `margin`: the distance to the next nearest centroid less `distance`.
    - `size`: the number of members.
    - `nearest`: the members nearest to the centroid, as many as `members` requested.
    - `metric`: "unknown" from servers before 0.2, whose distances are Euclidean.
    """

    clustering: str
    cluster: int
    distance: float
    margin: float
    size: int
    nearest: Members
    metric: Metric = "unknown"

    def _illustrate(self, source: Source | None) -> None:
        super()._illustrate(source)
        self.nearest._illustrate(source)

    def _repr_html_(self) -> str:
        return html.box(_summary(self))


@dataclass(frozen=True, eq=False, repr=False)
class Memberships(Columns[Membership]):
    """The cluster of one query in each of c clusterings.

    `home[0]`, `home["resnet152/kmeans"]` and iteration return each Membership. The columns mean the
    same as there.

    - `clusters`: int32, (c,).
    - `distances`, `margins`: float32, (c,).
    - `sizes`: int64, (c,).
    - `metrics`: the metric of each clustering's distances.
    - `error`: the reason if the query failed with errors="rows"; else None.

    Arrays are read-only.
    """

    clusterings: tuple[str, ...]
    clusters: Int32
    distances: Float32
    margins: Float32
    sizes: Int64
    nearest: tuple[Members, ...]
    metrics: tuple[Metric, ...]
    served: Served
    error: str | None = None

    _sliced: ClassVar = ("clusterings", "clusters", "distances", "margins", "sizes", "nearest", "metrics")

    def __len__(self) -> int:
        return len(self.clusterings)

    def _illustrate(self, source: Source | None) -> None:
        super()._illustrate(source)
        for members in self.nearest:
            members._illustrate(source)

    def _table(self) -> Mapping[str, Column]:
        return {
            "clustering": self.clusterings,
            "cluster": self.clusters,
            "metric": self.metrics,
            "distance": self.distances,
            "margin": self.margins,
            "size": self.sizes,
        }

    def _repr_html_(self) -> str:
        failed = html.note(self.error) if self.error is not None else ""
        return html.box(failed, *(_summary(each) for each in self), foot(self.served))

    @overload
    def __getitem__(self, index: SupportsIndex | str) -> Membership: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: SupportsIndex | str | slice) -> Membership | Self:
        """Return the membership at an index, or in a clustering by name; KeyError lists the clusterings."""
        if not isinstance(index, str):
            return super().__getitem__(index)
        if index not in self.clusterings:
            raise KeyError(f"no clustering {index!r} here; there are: {', '.join(self.clusterings) or 'none'}")
        return super().__getitem__(self.clusterings.index(index))

    def _row(self, index: int) -> Membership:
        return Membership(
            self.clusterings[index],
            int(self.clusters[index]),
            float(self.distances[index]),
            float(self.margins[index]),
            int(self.sizes[index]),
            self.nearest[index],
            self.metrics[index],
        )

    def __repr__(self) -> str:
        clusters = ", ".join(f"{m.clustering!r}: {m.cluster} of {m.size}" for m in self)
        return f"<Memberships {clusters}>"


@dataclass(frozen=True, eq=False, repr=False)
class MembershipsBatch(Columns[Memberships]):
    """The clusters of n queries in each of c clusterings; `batch[i]` and iteration return each query's Memberships.

    - `clusters`: int32, (n, c).
    - `distances`, `margins`: float32, (n, c).
    - `sizes`: int64, (n, c).
    - `nearest`: `nearest[i][j]` has the Members of query i in clustering j.
    - `metrics`: the metric of each clustering's distances.
    - `errors`: with errors="rows", the reason for each failed query, by its row.

    Arrays are read-only.
    """

    clusterings: tuple[str, ...]
    clusters: Int32
    distances: Float32
    margins: Float32
    sizes: Int64
    nearest: tuple[tuple[Members, ...], ...]
    metrics: tuple[Metric, ...]
    served: Served
    errors: Mapping[int, str] = field(default_factory=dict)

    _sliced: ClassVar = ("clusters", "distances", "margins", "sizes", "nearest")

    def __len__(self) -> int:
        return len(self.nearest)

    def _slice(self, rows: slice) -> Self:
        wanted = range(len(self))[rows]
        errors = {place: self.errors[row] for place, row in enumerate(wanted) if row in self.errors}
        return dataclasses.replace(super()._slice(rows), errors=errors)

    def _table(self) -> Mapping[str, Column]:
        """Return one row for each query in each clustering, with the row of the query in the batch."""
        return {
            "query": np.repeat(np.arange(len(self)), len(self.clusterings)),
            "clustering": self.clusterings * len(self),
            "cluster": self.clusters.reshape(-1),
            "metric": self.metrics * len(self),
            "distance": self.distances.reshape(-1),
            "margin": self.margins.reshape(-1),
            "size": self.sizes.reshape(-1),
        }

    def _repr_html_(self) -> str:
        table = self._table()
        failed = html.bullets(f"Query {row}: {why}" for row, why in self.errors.items())
        title = html.heading("Memberships", faint=f"{len(self)} queries")
        return html.box(title, failed, html.table(table, len(table["query"])), foot(self.served))

    def _row(self, index: int) -> Memberships:
        return Memberships(
            self.clusterings,
            self.clusters[index],
            self.distances[index],
            self.margins[index],
            self.sizes[index],
            self.nearest[index],
            self.metrics,
            self.served,
            self.errors.get(index),
        )

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"<MembershipsBatch of {len(self)} queries in {', '.join(self.clusterings) or 'no clustering'}{failed}>"


class Cluster(NamedTuple):
    """A cluster: its number, size, and mean distance of members to the centroid, NaN if it is empty."""

    cluster: int
    size: int
    mean_distance: float


@dataclass(frozen=True, eq=False, repr=False)
class Clusters(Columns[Cluster]):
    """The k clusters of a clustering, sorted by number.

    - `numbers`: int32, (k,): the clusters' numbers, which a slice keeps.
    - `sizes`: int64, (k,).
    - `mean_distances`: float32, (k,): the members' mean distance to their centroid in `metric`, see Membership; NaN for
      an empty cluster.

    Arrays are read-only.
    """

    clustering: str
    sizes: Int64
    mean_distances: Float32
    served: Served
    numbers: Int32
    metric: Metric = "unknown"

    _sliced: ClassVar = ("sizes", "mean_distances", "numbers")

    def __len__(self) -> int:
        return len(self.sizes)

    def _row(self, index: int) -> Cluster:
        return Cluster(int(self.numbers[index]), int(self.sizes[index]), float(self.mean_distances[index]))

    def _table(self) -> Mapping[str, Column]:
        return {"cluster": self.numbers, "size": self.sizes, "mean_distance": self.mean_distances}

    def _repr_html_(self) -> str:
        title = html.heading(f"Clusters of {self.clustering}", faint=str(len(self)))
        named = {heading(name, self.metric): column for name, column in self._table().items()}
        return html.box(title, html.table(named, len(self)), foot(self.served))

    def __repr__(self) -> str:
        return f"<Clusters {len(self)} of {self.clustering!r}, {int(self.sizes.sum())} members>"


def _summary(found: Membership) -> str:
    if found.cluster < 0:
        return html.heading(found.clustering, faint="in no cluster")
    about = (
        f"cluster {found.cluster} of {found.size:,} images, {measured(found.metric)} {found.distance:.4g}, "
        f"margin {found.margin:.4g}"
    )
    return html.heading(found.clustering, faint=about) + _strip(found.nearest)


def _strip(members: Members) -> str:
    gallery = members._gallery(members.ids.tolist(), members.keys)
    distances = members.distances.tolist()
    lines = [(label or "", f"{distance:.4g}") for label, distance in zip(members.labels, distances, strict=True)]
    return strip(gallery, members.ids.tolist(), members.keys, lines) + html.note(gallery.problem)
