"""Images that are odd for their class: outside its clusters, far from its center, or nearer to another class's."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Bools, Int64
from lookalike_indexer.collection.metrics import NAMES, metric_of
from lookalike_indexer.errors import UsageError
from lookalike_indexer.experiments.main_clusters import HOME_SHARE, ranked
from lookalike_indexer.experiments.metrics import contingency
from lookalike_indexer.experiments.oddness import FAR, Measured, at_home, by_clusters, by_embeddings, with_others
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import partial_notes, untrained_notes
from lookalike_indexer.experiments.view import AssignedImages, View, shortened_list
from lookalike_indexer.progress import Progress, Silent

Method = Literal["auto", "embeddings", "clusters"]
# The number of values up to which embeddings are read by default: 1 GiB of float32 in each of two passes.
_READ = 1 << 28
_TYPICAL = 6
_NAMED = 6


def oddballs(
    view: View,
    clustering: str = "",
    label: str = "",
    limit: int = 50,
    *,
    method: Method = "auto",
    where: str = "",
    progress: Progress | None = None,
) -> Result:
    """List the images that are odd for their label: of one label, or of all for "", and of those that match `where`.

    Images that are odd in more ways come first, then those with the lowest score.

    By "embeddings", an image is odd if at least one of these holds:

    - outside: its cluster is neither a main one of its label (see class_matrix) nor holds a tenth of the label's
      images, and at least two;
    - secondary: its cluster holds such a tenth, is not a main one of its label, and is a main one of another label;
    - far: its distance to the centroid of its label's other images has a modified z-score above 3.5 among its
      label's images (Iglewicz, Hoaglin, 1993: 0.6745 (x - median) / MAD);
    - nearer: the centroid of another label is nearer than that of its own.

    Its score is the simplified silhouette (Hruschka, Campello, de Castro, 2006), (b - a) / max(a, b), where a is the
    distance to its own and b to the nearest other label's centroid; from -1 to 1, the lowest is the oddest. If only one
    label has images it is -z / (1 + |z|).

    By "clusters", which reads no embeddings, distances are those to the centroid of the image's cluster, and "far" is
    among the images of its label in that cluster. "nearer" is left out. The score is the share of its label that is in
    its cluster, minus that of the label with the largest such share (0 if that is its own); the image looks like that
    label. "auto" uses embeddings up to 2^28 values of the space. All distances use the metric of the space, those by
    "clusters" that of the clustering.

    Tables:

    - oddballs: rank, id, key, label, looks_like, why (the ways in which it is odd, such as "outside, far"), score,
      distance, other_distance, z, outside, secondary, far, nearer, cluster
    - typical: label, rank, id, key, distance; the images nearest to the center of each listed label
    - labels: label, images, odd, outside, secondary, far, nearer; all labels, or the requested one

    Raise NotBuiltError if there are no labels, or there is no clustering. Raise NotFoundError if the label or
    clustering does not exist. Raise UsageError if the limit is below 1.
    """
    if limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1.")
    view.require_labels()
    wanted = view.label_code(label) if label else -1
    label = view.label_names[wanted] if label else ""
    name = view.clustering_name(clustering)
    assigned = view.assigned(name)
    entry = view.reader.manifest.spaces[assigned.entry.space]
    chosen = method
    if method == "auto":
        small = entry.rows * entry.dim <= _READ and len(view.label_names) * entry.dim <= _READ
        chosen = "embeddings" if small else "clusters"
    cells = ranked(contingency(view.labels, assigned.clusters, len(view.label_names), assigned.entry.k))
    home = at_home(view.labels, assigned.clusters, cells)
    if chosen == "embeddings":
        measured = by_embeddings(view, assigned, progress or Silent())
    else:
        measured = by_clusters(view.labels, assigned, cells, view.reader.centroids(name))
    space = assigned.entry.space
    metric = metric_of(view.reader.manifest, space) if chosen == "embeddings" else assigned.entry.metric
    measured = measured.placed(home, with_others(view.labels, assigned.clusters, cells))
    listable = np.ones(len(view), np.bool_) if wanted < 0 else view.labels == wanted
    keep = view.matching(where)
    if keep is not None:
        listable &= keep
    listed = _ranked(measured, listable, limit)
    tables = {
        "oddballs": _oddballs(view, assigned, measured, listed),
        "typical": _typical(view, measured, home, wanted, listed),
        "labels": _labels(view, measured, wanted),
    }
    judged = measured.judged & listable
    figures = {
        "images": float(judged.sum()),
        **{kind: float((flags & judged).sum()) for kind, flags in measured.kinds().items()},
        "left_out": float(len(view) - measured.judged.sum()),
    }
    findings = _findings(tables, figures, name, chosen, label, measured, metric)
    return Result(
        "oddballs",
        {
            "clustering": name,
            "label": label,
            "limit": limit,
            "method": chosen,
            "metric": metric,
            **({"where": where} if where else {}),
        },
        tables,
        figures,
        (*findings, *partial_notes(view, [name]), *untrained_notes(view, [space])),
    )


def _ranked(measured: Measured, listable: Bools, limit: int) -> Int64:
    """Return the rows of the oddest images: in most ways, then by the lowest score, then the farthest, then by row."""
    rows = np.flatnonzero(measured.odd & listable)
    order = np.lexsort((rows, -measured.z[rows], measured.score[rows], -measured.reasons[rows]))
    return rows[order[:limit]]


def _oddballs(view: View, assigned: AssignedImages, measured: Measured, rows: Int64) -> pa.Table:
    names = [*view.label_names, ""]
    return pa.table(
        {
            "rank": pa.array(range(1, len(rows) + 1), pa.int32()),
            "id": pa.array(view.ids[rows], pa.int64()),
            "key": pa.array(view.keys(rows), pa.string()),
            "label": pa.array(view.label_texts(rows), pa.string()),
            "looks_like": pa.array([names[code] for code in measured.looks_like[rows].tolist()], pa.string()),
            "why": pa.array(measured.why(rows), pa.string()),
            "score": pa.array(measured.score[rows], pa.float64()),
            "distance": pa.array(measured.distance[rows], pa.float64()),
            "other_distance": pa.array(measured.other_distance[rows], pa.float64()),
            "z": pa.array(measured.z[rows], pa.float64()),
            "outside": pa.array(measured.outside[rows]),
            "secondary": pa.array(measured.secondary[rows]),
            "far": pa.array(measured.far[rows]),
            "nearer": pa.array(measured.nearer[rows]),
            "cluster": pa.array(assigned.clusters[rows], pa.int32()),
        }
    )


def _typical(view: View, measured: Measured, home: Bools, wanted: int, listed: Int64) -> pa.Table:
    """Return the images in clusters of their label that are nearest to its center."""
    codes = [wanted] if wanted >= 0 else list(dict.fromkeys(view.labels[listed].tolist()))
    rows = np.flatnonzero(np.isin(view.labels, codes) & home & measured.judged & ~measured.odd)
    order = np.lexsort((rows, measured.distance[rows], view.labels[rows]))
    rows = rows[order]
    place = np.arange(len(rows)) - np.searchsorted(view.labels[rows], view.labels[rows])
    rows, place = rows[place < _TYPICAL], place[place < _TYPICAL]
    return pa.table(
        {
            "label": pa.array(view.label_texts(rows), pa.string()),
            "rank": pa.array(place + 1, pa.int32()),
            "id": pa.array(view.ids[rows], pa.int64()),
            "key": pa.array(view.keys(rows), pa.string()),
            "distance": pa.array(measured.distance[rows], pa.float64()),
        }
    )


def _labels(view: View, measured: Measured, wanted: int) -> pa.Table:
    """Return the number of odd images of each label; only of the label `wanted` unless it is -1."""

    def counted(flags: Bools) -> Int64:
        codes = view.labels[flags & (view.labels >= 0)]
        return np.bincount(codes, minlength=len(view.label_names)).astype(np.int64)

    kinds = {kind: pa.array(counted(flags)) for kind, flags in measured.kinds().items()}
    table = pa.table({"label": pa.array(view.label_names), "images": pa.array(counted(view.labels >= 0)), **kinds})
    return table if wanted < 0 else table.slice(wanted, 1)


def _findings(
    tables: dict[str, pa.Table],
    figures: dict[str, float],
    name: str,
    method: str,
    label: str,
    measured: Measured,
    metric: str,
) -> tuple[str, ...]:
    among = f"images of {label}" if label else "labeled images"
    told = [
        f"{figures['odd']:.0f} of {figures['images']:.0f} {among} are odd in {name}. Outside the clusters of their "
        f"class: {figures['outside']:.0f}; in a small part of it within a main cluster of another class: "
        f"{figures['secondary']:.0f}; far from its middle: {figures['far']:.0f}"
        + (f"; nearer to another class: {figures['nearer']:.0f}." if method == "embeddings" else ".")
    ]
    if method == "clusters":
        told.append(
            "Judged by clusters alone, without reading embeddings: within a cluster, an image that is nearer to "
            "another class cannot be told; --method embeddings can tell."
        )
    lines = tables["oddballs"].to_pylist()
    taken: dict[tuple[str, str], int] = {}
    for line in lines:
        if line["looks_like"] and line["looks_like"] != line["label"]:
            pair = line["label"], line["looks_like"]
            taken[pair] = taken.get(pair, 0) + 1
    often = sorted(((pair, count) for pair, count in taken.items() if count > 1), key=lambda item: (-item[1], item[0]))
    if often:
        each = [f"{own} like {other} ({count})" for (own, other), count in often[:_NAMED]]
        told.append(f"Of the {len(lines)} that are listed, the most look: {', '.join(each)}.")
    if measured.single:
        told.append(f"Classes of one image cannot be judged: {shortened_list(list(measured.single), _NAMED)}.")
    told.append(
        f"Outside: its cluster is no main cluster of its class and holds less than {HOME_SHARE:.0%} of it, or one "
        f"image; secondary: its cluster holds more of it, and is a main cluster of another class; far: a modified "
        f"z-score above {FAR}."
    )
    if method == "embeddings":
        told.append(
            f"Score: the simplified silhouette ({NAMES[metric]}), from -1 to 1. Images that are odd in more ways come "
            "first, then those of the lowest score."
        )
    return tuple(told)
