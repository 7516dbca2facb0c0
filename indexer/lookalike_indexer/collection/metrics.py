"""Metric of a space: all distances and silhouettes shown to users are measured in it and labeled with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lookalike_indexer.collection.current import default_clustering, default_index
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import Metric

NAMES: Final[dict[str, str]] = {"cosine": "cosine", "l2": "Euclidean"}
# The value in the settings of a result whose spaces have different metrics.
BY_SPACE: Final = "by space"
# Columns and figures that are distances or derived from them: their headings name the metric of the result.
_MEASURED: Final = frozenset(
    (
        "distance",
        "farthest",
        "margin",
        "max_distance",
        "mean_distance",
        "other_distance",
        "own_distance",
        "radius",
        "rival_distance",
        "silhouette",
    )
)
# Sums and means of the k-means objective, independent of the space's metric.
_OF_KMEANS: Final[dict[str, str]] = {
    "inertia": "squared Euclidean",
    "davies_bouldin": "Euclidean",
    "calinski_harabasz": "squared Euclidean",
}


def metric_of(manifest: Manifest, space: str) -> Metric:
    """Return the metric of a space: that of its current index, else of its current clustering, else cosine."""
    index = default_index(manifest, space)
    if index is not None:
        return manifest.indexes[index].metric
    clustering = default_clustering(manifest, space)
    return "cosine" if clustering is None else manifest.clusterings[clustering].metric


def shared(metrics: Iterable[str]) -> str:
    """Return the metric of a result's distances if all are equal, else "by space": a column of the result has each."""
    found = sorted(set(metrics))
    return found[0] if len(found) == 1 else BY_SPACE


def heading(column: str, metric: object) -> str:
    """Return a column's heading, with the metric if it holds distances or derived values: "silhouette (cosine)"."""
    name = _OF_KMEANS.get(column) or (NAMES.get(str(metric)) if column in _MEASURED else None)
    return f"{column} ({name})" if name else column
