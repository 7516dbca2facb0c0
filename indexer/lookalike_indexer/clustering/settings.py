"""Settings of a clustering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import STRATEGIES, ClusteringEntry, Strategy
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import UsageError

# The default number of training images for each cluster, if there are as many.
POINTS_PER_CENTROID: Final = 256


@dataclass(frozen=True)
class ClusterSettings:
    """Settings of a clustering.

    `space` "" means the collection's default. None for `clusters`, `name` and `restarts` means a choice by the
    collection, see `choice.py`. `strategy` is the algorithm that finds the centroids, see `strategies.py`.
    `points_per_centroid` bounds the training sample. `gpus` decides where the work is done and does not affect the
    result, so it is not part of a clustering's digest. Raise UsageError for a value out of range.
    """

    space: str = ""
    clusters: int | None = None
    name: str | None = None
    metric: Metric = "cosine"
    strategy: Strategy = "kmeans"
    seed: int = 1234
    iterations: int = 25
    restarts: int | None = None
    points_per_centroid: int = POINTS_PER_CENTROID
    gpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.clusters is not None and self.clusters < 1:
            raise UsageError(f"--clusters {self.clusters}: there must be at least one cluster.")
        if self.name is not None:
            layout.checked_name(self.name, "clustering")
        if self.strategy not in STRATEGIES:
            raise UsageError(f"There is no strategy {self.strategy!r}; there are {', '.join(STRATEGIES)}.")
        if self.strategy == "whitened" and self.metric != "cosine":
            raise UsageError(f"--strategy whitened scales L2-normalized embeddings: leave out --metric {self.metric}.")
        for option, value in [
            ("--iterations", self.iterations),
            ("--restarts", self.restarts),
            ("--points-per-centroid", self.points_per_centroid),
        ]:
            if value is not None and value < 1:
                raise UsageError(f"{option} {value} must be at least 1.")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed {self.seed} must be from 0 to {2**31 - 1}.")

    @property
    def spherical(self) -> bool:
        """Return whether centroids are kept on the unit sphere."""
        return self.strategy == "spherical"


def settings_of(entry: ClusteringEntry, gpus: tuple[int, ...] = ()) -> ClusterSettings:
    """Return the settings of a clustering, so that it can be recreated for a space that has grown."""
    return ClusterSettings(
        space=entry.space,
        clusters=None if entry.automatic else entry.k,
        name=entry.name,
        metric=entry.metric,
        strategy=entry.strategy,
        seed=entry.seed,
        iterations=entry.iterations,
        restarts=entry.asked_restarts,
        points_per_centroid=entry.points_per_centroid,
        gpus=gpus,
    )
