"""The one metric of a space: every distance and silhouette that people see is measured by it, and named after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lookalike_indexer.collection.current import default_clustering, default_index
from lookalike_indexer.collection.manifest import Manifest
from lookalike_indexer.collection.spec import Metric

NAMES: Final[dict[str, str]] = {"cosine": "cosine", "l2": "Euclidean"}
# What settings say of a result whose spaces have different metrics.
BY_SPACE: Final = "by space"
# Columns and figures that are distances, or are made of them: their headings name the metric of the result.
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
# These are sums and means over k-means' own objective, whatever the space is searched by.
_OF_KMEANS: Final[dict[str, str]] = {
    "inertia": "squared Euclidean",
    "davies_bouldin": "Euclidean",
    "calinski_harabasz": "squared Euclidean",
}


def metric_of(manifest: Manifest, space: str) -> Metric:
    """The metric of a space: that of its current index, else of its current clustering, else cosine."""
    index = default_index(manifest, space)
    if index is not None:
        return manifest.indexes[index].metric
    clustering = default_clustering(manifest, space)
    return "cosine" if clustering is None else manifest.clusterings[clustering].metric


def shared(metrics: Iterable[str]) -> str:
    """The metric of a result's distances where all have one, else "by space": a column of the result tells each."""
    found = sorted(set(metrics))
    return found[0] if len(found) == 1 else BY_SPACE


def heading(column: str, metric: object) -> str:
    """A column's name, with the metric's where it holds distances or what is made of them: "silhouette (cosine)"."""
    name = _OF_KMEANS.get(column) or (NAMES.get(str(metric)) if column in _MEASURED else None)
    return f"{column} ({name})" if name else column
