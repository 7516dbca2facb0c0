"""Distance metrics, and their names in headings and sentences."""

from __future__ import annotations

from typing import Final, Literal

# Servers before 0.2 do not report the metric: "unknown".
Metric = Literal["cosine", "l2", "unknown"]

NAMES: Final[dict[str, str]] = {"cosine": "cosine", "l2": "Euclidean"}
# Columns and figures that are distances or derived from distances.
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
# The k-means objective and measures derived from it, which do not use the metric of the search.
_OF_KMEANS: Final[dict[str, str]] = {
    "inertia": "squared Euclidean",
    "davies_bouldin": "Euclidean",
    "calinski_harabasz": "squared Euclidean",
}


def heading(column: str, metric: object) -> str:
    """Return a column's name, with the metric if its values are or derive from distances: "distance (cosine)"."""
    name = _OF_KMEANS.get(column) or (NAMES.get(str(metric)) if column in _MEASURED else None)
    return f"{column} ({name})" if name else column


def measured(metric: object, what: str = "distance") -> str:
    """Return the phrase for a distance, such as "cosine distance"; only `what` if the metric is unknown."""
    name = NAMES.get(str(metric))
    return f"{name} {what}" if name else what
