"""Surroundings of an image in a space: its nearest images of some groups, and its clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Float32, Int64
from lookalike_indexer.clustering.assignment_rule import Rule
from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.view import View
from lookalike_indexer.vectors.exact import exact_search

_NAN = float("nan")


class ImageAssignment(NamedTuple):
    """The cluster of an image (-1: none), its distance to the centroid and margin, in the clustering's metric."""

    cluster: int
    distance: float
    margin: float


# Returns an image's assignment in a clustering, by "space/name".
AssignmentLookup: TypeAlias = Callable[[str], ImageAssignment]


def stored_vector(view: View, row: int, space: str) -> Float32:
    """Return the embedding of a stored image, float32 of shape (1, dim).

    Raise NotBuiltError if it is not in the space.
    """
    rows = view.space_rows(space)
    position = int(np.searchsorted(rows, row))
    if position == len(rows) or rows[position] != row:
        raise NotBuiltError(f"The image {view.keys(np.array([row]))[0]} has no embedding in the space {space}.")
    return view.reader.vectors(space, np.array([position]))


def stored_assignment(view: View, row: int) -> AssignmentLookup:
    """Return a function that gives the stored assignments of an image."""

    def assignment(clustering: str) -> ImageAssignment:
        assigned = view.assigned(clustering)
        return ImageAssignment(
            int(assigned.clusters[row]), float(assigned.distances[row]), float(assigned.margins[row])
        )

    return assignment


def nearest_assignment(view: View, vector: Float32) -> AssignmentLookup:
    """Return a function that gives the nearest centroid of an unstored image; `vector` is float32 (1, dim)."""

    def assignment(clustering: str) -> ImageAssignment:
        found = Rule.of(view.reader, clustering).measure(vector)
        return ImageAssignment(int(found.clusters[0]), float(found.distances[0]), float(found.margins[0]))

    return assignment


def nearest_of(
    view: View, query: Float32, space: str, metric: Metric, groups: Mapping[str, Bools], neighbors: int
) -> pa.Table:
    """Return the images of each group that are nearest to `query`, float32 of shape (1, dim).

    A group is bool of shape (images,). Columns: group, rank, id, key, label, distance, and cluster, that in the space's
    current clustering.
    """
    tables = []
    for group, among in groups.items():
        blocks = ((block[among[block]], vectors[among[block]]) for block, vectors in view.stream(space))
        some = ((numbers, vectors) for numbers, vectors in blocks if len(numbers))
        found, distances = exact_search(some, query, neighbors, metric)
        kept = found[0] >= 0
        images = found[0][kept]
        tables.append(
            pa.table(
                {
                    "group": pa.array([group] * len(images), pa.string()),
                    "rank": pa.array(range(1, len(images) + 1), pa.int64()),
                    "id": view.ids[images],
                    "key": pa.array(view.keys(images), pa.string()),
                    "label": pa.array(view.label_texts(images), pa.string()),
                    "distance": distances[0][kept].astype(np.float64),
                    "cluster": _clusters_of(view, space, images),
                }
            )
        )
    return pa.concat_tables(tables)


def _clusters_of(view: View, space: str, rows: Int64) -> npt.NDArray[np.int32]:
    """Return the clusters of some images in the space's current clustering; -1 without one."""
    try:
        clusters: npt.NDArray[np.int32] = view.assigned(view.clustering_name(space=space)).clusters[rows]
    except NotBuiltError:
        return np.full(len(rows), -1, np.int32)
    return clusters


def clusters_around(view: View, space: str, label_code: int, find_assignment: AssignmentLookup) -> pa.Table:
    """Return the image's cluster in each clustering of a space; `label_code` is that of its label, -1 for none.

    Columns: clustering, cluster, size, main_label (the most frequent one), main_share and own_share (of that label and
    of the image's own among the members), metric, distance, margin. Cluster -1 and size 0: the image is in no cluster.
    """
    lines = []
    for name, entry in sorted(view.reader.manifest.clusterings.items(), key=lambda each: natural(each[0])):
        if entry.space != space:
            continue
        assignment = find_assignment(name)
        members = view.labels[(view.assigned(name).clusters == assignment.cluster) & (assignment.cluster >= 0)]
        counts = np.bincount(members[members >= 0], minlength=1)
        main = int(counts.argmax()) if counts.any() else -1
        own = int((members == label_code).sum()) if label_code >= 0 else 0
        lines.append(
            {
                "clustering": name,
                "cluster": assignment.cluster,
                "size": len(members),
                "main_label": view.label_names[main] if main >= 0 else "",
                "main_share": counts[main] / len(members) if main >= 0 else _NAN,
                "own_share": own / len(members) if len(members) else _NAN,
                "metric": entry.metric,
                "distance": assignment.distance,
                "margin": assignment.margin,
            }
        )
    return pa.Table.from_pylist(lines) if lines else pa.table({"clustering": pa.array([], pa.string())})
