"""How distances are measured, and what that is called beside a number."""

from __future__ import annotations

from typing import Final, Literal

# "unknown" is what servers of before 0.2 say: nothing.
Metric = Literal["cosine", "l2", "unknown"]

NAMES: Final[dict[str, str]] = {"cosine": "cosine", "l2": "Euclidean"}
# Columns and figures that are distances, or are made of them.
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
# k-means' own objective, and what is defined like it, whatever the space is searched by.
_OF_KMEANS: Final[dict[str, str]] = {
    "inertia": "squared Euclidean",
    "davies_bouldin": "Euclidean",
    "calinski_harabasz": "squared Euclidean",
}


def heading(column: str, metric: object) -> str:
    """A column's name, with the metric's where it holds distances or what is made of them: "distance (cosine)"."""
    name = _OF_KMEANS.get(column) or (NAMES.get(str(metric)) if column in _MEASURED else None)
    return f"{column} ({name})" if name else column


def measured(metric: object, what: str = "distance") -> str:
    """The words for a distance, such as "cosine distance"; `what` alone where the metric is not known."""
    name = NAMES.get(str(metric))
    return f"{name} {what}" if name else what
