"""Clusters within one class, and the surroundings of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Float32, Int64
from lookalike_indexer.collection.metrics import NAMES, metric_of
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.errors import IndexerError, NotBuiltError, UsageError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import untrained_notes
from lookalike_indexer.experiments.subclusters import MEASURED, Split, Splitter, goodness
from lookalike_indexer.experiments.view import View, shortened_list
from lookalike_indexer.progress import Progress, Silent
from lookalike_indexer.vectors.exact import exact_search
from lookalike_indexer.vectors.metric import prepare
from lookalike_indexer.vectors.sample import choose_rows

SEED = 1234
# The maximum number of images of the class in memory.
_HELD = 20_000
# The maximum number of clusters that "auto" tries, and the silhouette below which there is no structure.
_MOST, _STRUCTURE = 8, 0.25
# The number of nearest images of other labels whose labels are counted around each sub-cluster.
_AROUND = 50
_NAMED = 4


def split_label(
    view: View, label: str, space: str = "", k: int = 0, seed: int = SEED, *, progress: Progress | None = None
) -> Result:
    """Cluster the images of one label by k-means; k 0 means a choice by silhouette.

    All distances and silhouettes use the metric of the space, see `collection.metrics`; for cosine, embeddings are
    L2-normalized. The silhouette is Rousseeuw's (1987), on all images up to 2,000 and on a sample of larger sets. The
    chosen k, from 2 to 8, has the highest mean silhouette of those that give at least two groups of more than one
    image. If a label has more than 20,000 images, a sample is split.

    Tables:

    - subclusters: subcluster (the largest is 0), size, silhouette, distance (mean, to the centroid), around
      (the labels around it, the most frequent first)
    - members: subcluster, rank, id, key, distance, silhouette (NaN: not measured); the nearest to the centroid first
    - around: subcluster, label, count (among the 50 nearest images of other labels), distance (of the nearest one)
    - `neighbours`: subcluster, rank, id, key, label, distance (to the centroid); those 50
    - ks: k, silhouette, inertia (squared Euclidean distances); of each tried k

    Raise NotFoundError if the label or space does not exist. Raise UsageError if k is above the number of images, or
    there are too few images. Raise IndexerError if an embedding is not finite.
    """
    code = view.label_code(label)
    label = view.label_names[code]
    space, _ = view.reader.space(space)
    progress = progress or Silent()
    space_rows = view.space_rows(space)
    places = np.flatnonzero(view.labels[space_rows] == code)
    of = len(places)
    _check(view, label, space, of, k)
    places = np.sort(places[choose_rows(of, _HELD, seed)])
    metric = metric_of(view.reader.manifest, space)
    vectors = prepare(view.reader.vectors(space, places), metric)
    if not np.isfinite(vectors).all():
        raise IndexerError(f"Some embeddings of {label} in {space} hold NaN or infinite values; embed them again.")
    tried = [k] if k else list(range(2, min(_MOST, len(places) - 1) + 1)) or [1]
    splits, splitter = [], Splitter(vectors, metric, seed)
    with progress.stage(f"split {label}", len(tried), "k") as bar:
        for number in tried:
            splits.append(splitter.split(number))
            bar.advance()
    best = max(splits, key=goodness)  # the first of equal ones
    rows = space_rows[places]
    neighbors = _neighbors(view, space, metric, code, best, progress)
    around = _around(neighbors)
    tables = {
        "subclusters": _subclusters(best, around),
        "members": _members(view, rows, best),
        "around": around,
        "neighbours": neighbors,
        "ks": pa.table(
            {
                "k": pa.array(tried, pa.int32()),
                "silhouette": pa.array([made.silhouette for made in splits], pa.float64()),
                "inertia": pa.array([made.inertia for made in splits], pa.float64()),
            }
        ),
    }
    figures = {"images": float(of), "split": float(len(rows)), "k": float(best.k), "silhouette": best.silhouette}
    told = _findings(label, space, metric, tables, best, auto=not k, sampled=of > len(rows))
    return Result(
        "split_label",
        {"label": label, "space": space, "metric": metric, "k": k, "seed": seed},
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


def _neighbors(view: View, space: str, metric: Metric, code: int, made: Split, progress: Progress) -> pa.Table:
    """Return the nearest images of other labels, or of none, to each sub-cluster's centroid."""

    def others() -> Iterator[tuple[Int64, Float32]]:
        with progress.stage("look around", view.reader.space(space)[1].rows, "image") as bar:
            for rows, vectors in view.stream(space):
                other = view.labels[rows] != code
                if other.any():
                    yield rows[other], vectors[other]
                bar.advance(len(rows))

    found, distances = exact_search(others(), made.centroids, _AROUND, metric)
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


def _around(neighbors: pa.Table) -> pa.Table:
    """Return the labels of the neighbors of each sub-cluster, the most frequent first."""
    counted = neighbors.group_by(["subcluster", "label"]).aggregate([("rank", "count"), ("distance", "min")])
    counted = counted.rename_columns(["subcluster", "label", "count", "distance"])
    return counted.sort_by([("subcluster", "ascending"), ("count", "descending"), ("label", "ascending")])


def _subclusters(made: Split, around: pa.Table) -> pa.Table:
    labels: dict[int, list[str]] = {cluster: [] for cluster in range(made.k)}
    for line in around.to_pylist():
        labels[line["subcluster"]].append(line["label"])
    sizes = np.bincount(made.clusters, minlength=made.k)
    known = np.isfinite(made.silhouettes)
    with np.errstate(invalid="ignore"):
        measured = np.bincount(made.clusters[known], minlength=made.k)
        silhouettes = np.bincount(made.clusters[known], made.silhouettes[known], made.k) / measured
    return pa.table(
        {
            "subcluster": pa.array(range(made.k), pa.int32()),
            "size": pa.array(sizes, pa.int64()),
            "silhouette": pa.array(silhouettes, pa.float64()),
            "distance": pa.array(np.bincount(made.clusters, made.distances, made.k) / sizes, pa.float64()),
            "around": pa.array([labels[cluster] for cluster in range(made.k)], pa.list_(pa.string())),
        }
    )


def _members(view: View, rows: Int64, made: Split) -> pa.Table:
    order = np.lexsort((rows, made.distances, made.clusters))
    clusters = made.clusters[order]
    return pa.table(
        {
            "subcluster": pa.array(clusters, pa.int32()),
            "rank": pa.array(np.arange(len(rows)) - np.searchsorted(clusters, clusters) + 1, pa.int32()),
            "id": pa.array(view.ids[rows[order]], pa.int64()),
            "key": pa.array(view.keys(rows[order]), pa.string()),
            "distance": pa.array(made.distances[order], pa.float64()),
            "silhouette": pa.array(made.silhouettes[order], pa.float64()),
        }
    )


def _findings(
    label: str, space: str, metric: Metric, tables: dict[str, pa.Table], made: Split, auto: bool, sampled: bool
) -> tuple[str, ...]:
    sizes = tables["subclusters"].column("size").to_pylist()
    how = "chosen as the k with the highest silhouette" if auto else "as requested"
    told = [f"{label} in {space}: {made.k} sub-clusters ({how}) of {', '.join(map(str, sizes))} images."]
    value = made.silhouette
    if np.isnan(value):
        told.append("The silhouette is not defined for this split.")
    else:
        meaning = "a structure" if value >= _STRUCTURE else "no substantial structure: take the groups as tendencies"
        told.append(
            f"Silhouette ({NAMES[metric]}) {value:.3f}: {meaning} (Kaufman and Rousseeuw, 1990, see structure from "
            f"{_STRUCTURE} on)."
        )
    if sampled:
        told.append(f"The class has more than {_HELD:,} images; a random sample of {len(made.clusters):,} was split.")
    if not np.isfinite(made.silhouettes).all() and not np.isnan(value):
        told.append(f"The silhouette was measured on a random sample of {MEASURED:,} images.")
    around = tables["around"].to_pylist()
    for cluster in range(made.k):
        here = [line for line in around if line["subcluster"] == cluster]
        named = [f"{line['label'] or 'no label'} ({line['count']})" for line in here]
        if named:
            told.append(f"Around sub-cluster {cluster} lie {shortened_list(named, _NAMED)}.")
    return tuple(told)
