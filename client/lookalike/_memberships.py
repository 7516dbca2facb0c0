"""Which clusters a query is in, and who else is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, SupportsIndex

from lookalike._columns import Columns, Float32, Int32, Int64, preview
from lookalike._served import Served


class Member(NamedTuple):
    """A member of a cluster; `distance` and `margin` as in Members."""

    id: int
    key: str
    label: str | None
    distance: float
    margin: float


@dataclass(frozen=True, eq=False, repr=False)
class Members(Columns[Member]):
    """Members of a cluster as columns of length m, nearest to the centroid first.

    ids: int64, (m,). distances: float32, (m,): Euclidean distance to the
    centroid. margins: float32, (m,): the distance to the next centroid less the
    distance to this one. labels: None where an image has none. Arrays are
    read-only.
    """

    ids: Int64
    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    distances: Float32
    margins: Float32

    def __len__(self) -> int:
        return len(self.ids)

    def _row(self, index: int) -> Member:
        return Member(
            int(self.ids[index]),
            self.keys[index],
            self.labels[index],
            float(self.distances[index]),
            float(self.margins[index]),
        )

    def __repr__(self) -> str:
        return f"<Members {len(self)}: {preview(self.keys, self.distances)}>"


@dataclass(frozen=True)
class Membership:
    """The cluster of one query in one clustering, which is named "space/name".

    `cluster` is -1 where a stored image has no assignment, or the query failed. `distance` is the
    Euclidean distance to the centroid, `margin` the distance to the next
    centroid less that, `size` the number of members; `nearest` are those nearest
    to the centroid, as many as were asked for.
    """

    clustering: str
    cluster: int
    distance: float
    margin: float
    size: int
    nearest: Members


@dataclass(frozen=True, eq=False, repr=False)
class Memberships(Columns[Membership]):
    """The cluster of one query in each of c clusterings.

    `home[0]`, `home["resnet152/kmeans"]` and iteration give each Membership.
    clusters: int32, (c,). distances, margins: float32, (c,). sizes: int64, (c,).
    Their meaning is that of Membership. error: why it is in none, where the query
    failed with errors="rows". Arrays are read-only.
    """

    clusterings: tuple[str, ...]
    clusters: Int32
    distances: Float32
    margins: Float32
    sizes: Int64
    nearest: tuple[Members, ...]
    served: Served
    error: str | None = None

    def __len__(self) -> int:
        return len(self.clusterings)

    def __getitem__(self, index: SupportsIndex | str) -> Membership:
        """The membership at an index, or in a clustering by name; KeyError names those that there are."""
        if not isinstance(index, str):
            return super().__getitem__(index)
        if index not in self.clusterings:
            raise KeyError(f"no clustering {index!r} here; there are: {', '.join(self.clusterings) or 'none'}")
        return self._row(self.clusterings.index(index))

    def _row(self, index: int) -> Membership:
        return Membership(
            self.clusterings[index],
            int(self.clusters[index]),
            float(self.distances[index]),
            float(self.margins[index]),
            int(self.sizes[index]),
            self.nearest[index],
        )

    def __repr__(self) -> str:
        clusters = ", ".join(f"{m.clustering!r}: {m.cluster} of {m.size}" for m in self)
        return f"<Memberships {clusters}>"


@dataclass(frozen=True, eq=False, repr=False)
class MembershipsBatch(Columns[Memberships]):
    """The clusters of n queries in each of c clusterings; `batch[i]` and iteration give each query's Memberships.

    clusters: int32, (n, c). distances, margins: float32, (n, c). sizes: int64,
    (n, c). nearest[i][j]: the Members of query i in clustering j. errors: with
    errors="rows", why a query is in no cluster, by its row. Arrays are read-only.
    """

    clusterings: tuple[str, ...]
    clusters: Int32
    distances: Float32
    margins: Float32
    sizes: Int64
    nearest: tuple[tuple[Members, ...], ...]
    served: Served
    errors: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.nearest)

    def _row(self, index: int) -> Memberships:
        return Memberships(
            self.clusterings,
            self.clusters[index],
            self.distances[index],
            self.margins[index],
            self.sizes[index],
            self.nearest[index],
            self.served,
            self.errors.get(index),
        )

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"<MembershipsBatch of {len(self)} queries in {', '.join(self.clusterings) or 'no clustering'}{failed}>"


class Cluster(NamedTuple):
    """A cluster; `mean_distance` is NaN for an empty one."""

    cluster: int
    size: int
    mean_distance: float


@dataclass(frozen=True, eq=False, repr=False)
class Clusters(Columns[Cluster]):
    """The k clusters of a clustering, by ascending number.

    sizes: int64, (k,). mean_distances: float32, (k,): the members' mean Euclidean
    distance to their centroid, NaN for an empty cluster. Arrays are read-only.
    """

    clustering: str
    sizes: Int64
    mean_distances: Float32
    served: Served

    def __len__(self) -> int:
        return len(self.sizes)

    def _row(self, index: int) -> Cluster:
        return Cluster(index, int(self.sizes[index]), float(self.mean_distances[index]))

    def __repr__(self) -> str:
        return f"<Clusters {len(self)} of {self.clustering!r}, {int(self.sizes.sum())} members>"
