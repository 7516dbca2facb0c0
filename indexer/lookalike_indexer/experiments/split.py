"""The clusters within one class, and what lies around each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike_indexer.clustering.assign import assign
from lookalike_indexer.clustering.kmeans import train
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.notes import untrained_notes
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import Float32, Int32, Int64, View, some
from lookalike_indexer.indexing.exact import exact_search
from lookalike_indexer.indexing.metric import prepare
from lookalike_indexer.indexing.sample import choose_rows
from lookalike_indexer.progress import Progress, Silent

SEED = 1234
# Images of the class that are held, and of those the ones between which silhouettes are measured.
_HELD, _MEASURED = 20_000, 2_000
# The most clusters that "auto" tries, and below what a silhouette is no structure.
_MOST, _STRUCTURE = 8, 0.25
_RESTARTS = 10
# The nearest images of other labels whose labels are counted around each sub-cluster.
_AROUND = 50
_NAMED = 4


@dataclass(frozen=True)
class _Split:
    """k sub-clusters, the largest first: of n images their sub-cluster, distance, silhouette (NaN: not measured)."""

    centroids: Float32
    clusters: Int32
    distances: Float32
    silhouettes: Float32
    inertia: float

    @property
    def k(self) -> int:
        return len(self.centroids)

    @property
    def silhouette(self) -> float:
        """The mean, NaN when it is not defined."""
        known = self.silhouettes[np.isfinite(self.silhouettes)]
        return float(known.mean()) if len(known) else float("nan")


def split_label(
    view: View, label: str, space: str = "", k: int = 0, seed: int = SEED, *, progress: Progress | None = None
) -> Result:
    """Cluster the images of one label by k-means on their L2-normalised embeddings; k 0: chosen by silhouette.

    The silhouette is Rousseeuw's (1987), by cosine distance, on all images up
    to 2,000 and on a sample of those beyond. The k that is chosen has the highest
    mean, from 2 to 8, of those that give two groups of more than one image. Of
    labels with more than 20,000 images a sample is split.

    Tables:
    - subclusters: subcluster (the largest is 0), size, silhouette, distance (mean, Euclidean, to the centroid), around
      (the labels around it, the most frequent first)
    - members: subcluster, rank, id, key, distance, silhouette (NaN: not measured); the nearest to the centroid first
    - around: subcluster, label, count (among the 50 nearest images of other labels), distance (of the nearest one)
    - neighbours: subcluster, rank, id, key, label, distance (cosine, to the centroid); those 50
    - ks: k, silhouette, inertia; of each k that was tried

    NotFoundError: no such label or space. UsageError: k above the number of images, or too few images.
    """
    code = view.label_code(label)
    space, _ = view.reader.space(space)
    progress = progress or Silent()
    space_rows = view.space_rows(space)
    places = np.flatnonzero(view.labels[space_rows] == code)
    of = len(places)
    _check(view, label, space, of, k)
    places = np.sort(places[choose_rows(of, _HELD, seed)])
    vectors = prepare(view.reader.vectors(space, places), "cosine")
    tried = [k] if k else list(range(2, min(_MOST, len(places) - 1) + 1)) or [1]
    splits = []
    with progress.stage(f"split {label}", len(tried), "k") as bar:
        for number in tried:
            splits.append(_split(vectors, number, seed))
            bar.advance()
    best = max(splits, key=_goodness)  # the first of equal ones
    rows = space_rows[places]
    neighbours = _neighbours(view, space, code, best, progress)
    around = _around(neighbours)
    tables = {
        "subclusters": _subclusters(best, around),
        "members": _members(view, rows, best),
        "around": around,
        "neighbours": neighbours,
        "ks": pa.table(
            {
                "k": pa.array(tried, pa.int32()),
                "silhouette": pa.array([split.silhouette for split in splits], pa.float64()),
                "inertia": pa.array([split.inertia for split in splits], pa.float64()),
            }
        ),
    }
    figures = {"images": float(of), "split": float(len(rows)), "k": float(best.k), "silhouette": best.silhouette}
    told = _findings(label, space, tables, best, auto=not k, sampled=of > len(rows))
    return Result(
        "split_label",
        {"label": label, "space": space, "k": k, "seed": seed},
        tables,
        figures,
        (*told, *untrained_notes(view, [space])),
    )


def _check(view: View, label: str, space: str, images: int, k: int) -> None:
    if k < 0:
        raise UsageError(f"k is {k}; it must be at least 1, or 0 to have it chosen.")
    if images == 0:
        raise NotBuiltError(f"No image of {label} has an embedding in the space {space}; run lookalike embed again.")
    if k > images:
        raise UsageError(f"-k {k}: the label {label} has only {images} images in the space {space}.")
    if images < 2:
        raise UsageError(f"The label {label} has only one image in the space {space}; there is nothing to split.")


def _split(vectors: Float32, k: int, seed: int) -> _Split:
    trained = train(vectors, k, ClusterSettings(clusters=k, seed=seed, restarts=_RESTARTS), Silent())
    assigned = assign(vectors, trained.centroids)
    sizes = np.bincount(assigned.clusters, minlength=k)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]  # equal images leave clusters empty
    renamed = np.empty(k, np.int32)
    renamed[order] = np.arange(len(order))
    clusters = renamed[assigned.clusters]
    inertia = float(np.square(assigned.distances, dtype=np.float64).sum())
    return _Split(
        trained.centroids[order], clusters, assigned.distances, _silhouettes(vectors, clusters, seed), inertia
    )


def _goodness(split: _Split) -> tuple[bool, float]:
    """Two groups before one and single images, which are oddballs; then the silhouette, if it is defined."""
    groups = int(np.count_nonzero(np.bincount(split.clusters) > 1))
    return groups > 1, -2.0 if np.isnan(split.silhouette) else split.silhouette


def _silhouettes(vectors: Float32, clusters: Int32, seed: int) -> Float32:
    """The silhouette of each image, NaN for those outside the sample and where there is one cluster, or one each."""
    from sklearn.metrics import silhouette_samples

    found = np.full(len(vectors), np.nan, np.float32)
    sample = np.sort(choose_rows(len(vectors), _MEASURED, seed))
    if 2 <= len(np.unique(clusters[sample])) < len(sample):
        found[sample] = silhouette_samples(vectors[sample], clusters[sample], metric="cosine")
    return found


def _neighbours(view: View, space: str, code: int, split: _Split, progress: Progress) -> pa.Table:
    """The nearest images of other labels, or of none, to each sub-cluster's centroid."""

    def others() -> Iterator[tuple[Int64, Float32]]:
        with progress.stage("look around", view.reader.manifest.spaces[space].rows, "image") as bar:
            for rows, vectors in view.stream(space):
                other = view.labels[rows] != code
                if other.any():
                    yield rows[other], vectors[other]
                bar.advance(len(rows))

    found, distances = exact_search(others(), split.centroids, _AROUND, "cosine")
    clusters, ranks = np.nonzero(found >= 0)
    rows = found[clusters, ranks]
    return pa.table(
        {
            "subcluster": pa.array(clusters, pa.int32()),
            "rank": pa.array(ranks + 1, pa.int32()),
            "id": pa.array(view.ids[rows], pa.int64()),
            "key": pa.array(view.keys(rows), pa.string()),
            "label": pa.array(view.label_texts(rows), pa.string()),
            "distance": pa.array(distances[clusters, ranks], pa.float64()),
        }
    )


def _around(neighbours: pa.Table) -> pa.Table:
    """The labels of the neighbours of each sub-cluster, the most frequent first."""
    counted = neighbours.group_by(["subcluster", "label"]).aggregate([("rank", "count"), ("distance", "min")])
    counted = counted.rename_columns(["subcluster", "label", "count", "distance"])
    return counted.sort_by([("subcluster", "ascending"), ("count", "descending"), ("label", "ascending")])


def _subclusters(split: _Split, around: pa.Table) -> pa.Table:
    labels: dict[int, list[str]] = {cluster: [] for cluster in range(split.k)}
    for line in around.to_pylist():
        labels[line["subcluster"]].append(line["label"])
    sizes = np.bincount(split.clusters, minlength=split.k)
    known = np.isfinite(split.silhouettes)
    with np.errstate(invalid="ignore"):
        measured = np.bincount(split.clusters[known], minlength=split.k)
        silhouettes = np.bincount(split.clusters[known], split.silhouettes[known], split.k) / measured
    return pa.table(
        {
            "subcluster": pa.array(range(split.k), pa.int32()),
            "size": pa.array(sizes, pa.int64()),
            "silhouette": pa.array(silhouettes, pa.float64()),
            "distance": pa.array(np.bincount(split.clusters, split.distances, split.k) / sizes, pa.float64()),
            "around": pa.array([labels[cluster] for cluster in range(split.k)], pa.list_(pa.string())),
        }
    )


def _members(view: View, rows: Int64, split: _Split) -> pa.Table:
    order = np.lexsort((rows, split.distances, split.clusters))
    clusters = split.clusters[order]
    return pa.table(
        {
            "subcluster": pa.array(clusters, pa.int32()),
            "rank": pa.array(np.arange(len(rows)) - np.searchsorted(clusters, clusters) + 1, pa.int32()),
            "id": pa.array(view.ids[rows[order]], pa.int64()),
            "key": pa.array(view.keys(rows[order]), pa.string()),
            "distance": pa.array(split.distances[order], pa.float64()),
            "silhouette": pa.array(split.silhouettes[order], pa.float64()),
        }
    )


def _findings(
    label: str, space: str, tables: dict[str, pa.Table], split: _Split, auto: bool, sampled: bool
) -> tuple[str, ...]:
    sizes = tables["subclusters"].column("size").to_pylist()
    how = "chosen as the k with the highest silhouette" if auto else "as asked for"
    told = [f"{label} in {space}: {split.k} sub-clusters ({how}) of {', '.join(map(str, sizes))} images."]
    value = split.silhouette
    if np.isnan(value):
        told.append("The silhouette is not defined for this split.")
    else:
        meaning = "a structure" if value >= _STRUCTURE else "no substantial structure: take the groups as tendencies"
        told.append(
            f"Silhouette {value:.3f}: {meaning} (Kaufman and Rousseeuw, 1990, see structure from {_STRUCTURE} on)."
        )
    if sampled:
        told.append(f"The class has more than {_HELD:,} images; a random sample of {len(split.clusters):,} was split.")
    if not np.isfinite(split.silhouettes).all() and not np.isnan(value):
        told.append(f"The silhouette was measured on a random sample of {_MEASURED:,} images.")
    around = tables["around"].to_pylist()
    for cluster in range(split.k):
        here = [line for line in around if line["subcluster"] == cluster]
        named = [f"{line['label'] or 'no label'} ({line['count']})" for line in here]
        if named:
            told.append(f"Around sub-cluster {cluster} lie {some(named, _NAMED)}.")
    return tuple(told)
