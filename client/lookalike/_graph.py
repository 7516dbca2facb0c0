"""The stored nearest-neighbor graph: the lists of some or all images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from lookalike._columns import Columns, Float32, Int64
from lookalike._metrics import Metric, measured
from lookalike._notebook import html
from lookalike._notebook.frames import Column


class GraphList(NamedTuple):
    """An image and its nearest neighbors in the stored graph: ids int64, (m,), and distances float32, (m,)."""

    id: int
    key: str
    neighbors: Int64
    distances: Float32


@dataclass(frozen=True, eq=False, repr=False)
class GraphLists(Columns[GraphList]):
    """Lists of the stored graph as columns of length n.

    `ids`, int64, (n,), and `keys` name the images. `neighbors`, int64, (n, k), has the ids of each image's nearest
    neighbors, nearest first, and -1 where a list is shorter. `distances`, float32, (n, k), is in `metric`, and infinite
    where a list is shorter. `method` is "exact", "index" if an index found the neighbors, or "components" if principal
    components did. `recall` was measured when the graph was built.
    """

    ids: Int64
    keys: tuple[str, ...]
    neighbors: Int64
    distances: Float32
    metric: Metric = "unknown"
    method: str = ""
    recall: float = 1.0

    _sliced: ClassVar = ("ids", "keys", "neighbors", "distances")

    def __len__(self) -> int:
        return len(self.ids)

    def _table(self) -> Mapping[str, Column]:
        lists = list(self)
        return {
            "id": self.ids,
            "key": self.keys,
            "neighbors": tuple(each.neighbors.tolist() for each in lists),
            "distances": tuple(each.distances.tolist() for each in lists),
        }

    def _row(self, index: int) -> GraphList:
        there = self.neighbors[index] >= 0
        return GraphList(
            int(self.ids[index]), self.keys[index], self.neighbors[index][there], self.distances[index][there]
        )

    def _repr_html_(self) -> str:
        nearest: dict[str, Column] = {"key": self.keys}
        if self.neighbors.shape[1]:
            nearest |= {"nearest": self.neighbors[:, 0], f"distance ({measured(self.metric)})": self.distances[:, 0]}
        return html.box(html.heading("Graph", faint=f"{len(self)} images"), html.table(nearest, len(self)))

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.keys[:3]))
        return f"<GraphLists {len(self)} x {self.neighbors.shape[1]}: {names}{', ...' if len(self) > 3 else ''}>"
