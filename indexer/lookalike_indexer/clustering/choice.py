"""How many clusters, and what the clustering is called, when the user does not say."""

from __future__ import annotations

import math

from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import UsageError

# More clusters than this are rarely looked at, and k-means takes long for them: ask for them by --clusters.
_MOST = 4096
# One start of k-means often ends in a poor optimum, so small clusterings are started this often. From 10 starts to 30,
# the inertia of 2,000 photographs fell by up to 0.7%. Large clusterings spread their starts better by themselves, and
# would take too long: the arithmetic is bounded.
_MOST_RESTARTS = 30
# A poor halving can be mended by the next ones.
_MOST_HALVED = 10
_MOST_OPERATIONS = 1e12


def check_clusters(wanted: int | None, images: int, space: str) -> None:
    """UsageError: more clusters are asked for than `images`, the most that the space has or will have."""
    if wanted is not None and wanted > images:
        raise UsageError(f"--clusters {wanted}: the space {space} has only {images} images; ask for at most {images}.")


def choose_clusters(reader: CollectionReader, space: str, wanted: int | None) -> tuple[int, str]:
    """The number of clusters and the reason for it. UsageError: more clusters than images."""
    rows = reader.space(space)[1].rows
    check_clusters(wanted, rows, space)
    if wanted is not None:
        return wanted, "as asked for"
    labels = _labels(reader)
    if 2 <= labels <= min(rows, _MOST):
        return labels, "the number of labels"
    k = min(max(1, round(math.sqrt(rows / 2))), _MOST)
    return k, f"about the square root of half of {rows} images"


def choose_restarts(sampled: int, k: int, dim: int, settings: ClusterSettings) -> int:
    """How often to start k-means: as asked for, or up to 30 times while that is a matter of seconds.

    Bisecting k-means starts each halving so often, up to 10 times. Agglomerative clustering
    has no starts: 1.
    """
    if settings.strategy == "agglomerative":
        return 1
    if settings.restarts is not None:
        return settings.restarts
    most = _MOST_RESTARTS
    if settings.strategy == "bisecting":
        most = _MOST_HALVED
        # Each level of the tree of halves compares each vector with two centroids.
        k = 2 * math.ceil(math.log2(max(k, 2)))
    operations = 2.0 * sampled * k * dim * settings.iterations
    return int(min(max(1, _MOST_OPERATIONS // operations), most))


def choose_name(settings: ClusterSettings) -> str:
    """The clustering's name: as asked for, or from the settings.

    "auto" where the collection chooses the number of clusters, however many
    that are, "k20" for 20 clusters; with what is unusual about it.
    """
    if settings.name is not None:
        return settings.name
    unusual: list[str] = [settings.strategy] if settings.strategy != "kmeans" else []
    unusual += [settings.metric] if settings.metric != "cosine" else []
    number = "auto" if settings.clusters is None else f"k{settings.clusters}"
    return "-".join([number, *unusual])


def _labels(reader: CollectionReader) -> int:
    seen: set[str] = set()
    for table in reader.stream_images(["label"]):
        seen.update(label for label in table.column("label").unique().to_pylist() if label)
    return len(seen)
