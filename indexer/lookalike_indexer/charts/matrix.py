"""Charts of the class x cluster matrix: a heatmap, the composition of each cluster, the distribution of each class."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.figure import Figure

from lookalike_indexer.charts.bars import BarStyle, bars
from lookalike_indexer.charts.heatmap import Axes, heatmap
from lookalike_indexer.charts.palette import COLORS
from lookalike_indexer.experiments.result import Result

# The maximum number of labels that can each have a color.
_COLORED = 19
_CLUSTER_RANKS = ("in its largest cluster", "in the second", "in the third", "in the fourth")
_RANKS = ("its most frequent class", "the second", "the third", "the fourth")


def matrix_figures(result: Result) -> dict[str, Figure]:
    """Return the charts of a class_matrix result, by file name."""
    name = str(result.settings["clustering"])
    return {
        "matrix": _heatmap(result, name),
        "clusters": _composition(result, name),
        "classes": _where_classes_went(result, name),
    }


def _heatmap(result: Result, name: str) -> Figure:
    labels, clusters, counts = (result.tables[table].to_pydict() for table in ("labels", "clusters", "counts"))
    row_of = dict(zip(labels["label"], labels["position"], strict=True))
    column_of = dict(zip(clusters["cluster"], clusters["position"], strict=True))
    matrix = np.zeros((len(row_of), len(column_of)))
    rows = [row_of[label] for label in counts["label"]]
    columns = [column_of[cluster] for cluster in counts["cluster"]]
    matrix[rows, columns] = counts["count"]
    row_names = [label for label, _ in sorted(row_of.items(), key=lambda pair: pair[1])]
    column_names = [str(cluster) for cluster, _ in sorted(column_of.items(), key=lambda pair: pair[1])]
    figures = result.figures
    told = f"purity {figures['purity']:.3f}, NMI {figures['nmi']:.3f}, ARI {figures['ari']:.3f}"
    axes = Axes(f"{name}: {told}", "class, alike ones together", "cluster, by its most frequent class", "images")
    return heatmap(matrix, row_names, column_names, axes)


def _composition(result: Result, name: str) -> Figure:
    """Draw a bar for each cluster, in the order of the heatmap: colored by label, or by rank if there are many labels.

    With ranks the first piece is the cluster's most frequent label, the next one its second, and so on.
    """
    clusters = result.tables["clusters"].sort_by("position").to_pydict()
    place = {cluster: number for number, cluster in enumerate(clusters["cluster"])}
    labels = result.tables["labels"].column("label").to_pylist()
    columns = (result.tables["counts"].column(column).to_pylist() for column in ("label", "cluster", "count"))
    cells = sorted(zip(*columns, strict=True), key=lambda cell: (cell[1], -cell[2], cell[0]))
    pieces = labels if len(labels) <= _COLORED else [*_RANKS, "other"]
    series = {piece: [0] * len(place) for piece in pieces}
    seen: Counter[int] = Counter()
    for label, cluster, count in cells:
        piece = label if pieces is labels else pieces[min(seen[cluster], len(_RANKS))]
        series[piece][place[cluster]] += count
        seen[cluster] += 1
    names = [
        f"{label or ''} {cluster}".strip()
        for label, cluster in zip(clusters["label"], clusters["cluster"], strict=True)
    ]
    style = BarStyle(
        f"{name}: what each cluster is made of", "images", "cluster, after its main class", stacked=True, whole=True
    )
    return bars(names, series, style)


def _where_classes_went(result: Result, name: str) -> Figure:
    """Draw a bar for each class, the most scattered first: colored by cluster, or by rank if there are many clusters.

    A cluster has the color of its main class in the chart of clusters. With ranks the first piece is the class's
    largest cluster, the next one the second, and so on.
    """
    labels = result.tables["labels"].sort_by("share").to_pydict()
    images = dict(zip(labels["label"], labels["images"], strict=True))
    place = {label: number for number, label in enumerate(labels["label"])}
    clusters = result.tables["clusters"].sort_by("position").to_pydict()
    names = {
        cluster: f"{label or ''} {cluster}".strip()
        for cluster, label in zip(clusters["cluster"], clusters["label"], strict=True)
    }
    pieces = list(names.values()) if len(names) <= _COLORED else [*_CLUSTER_RANKS, "other"]
    columns = (result.tables["counts"].column(column).to_pylist() for column in ("label", "cluster", "count"))
    cells = sorted(zip(*columns, strict=True), key=lambda cell: (cell[0], -cell[2], cell[1]))
    series = {piece: [0.0] * len(place) for piece in pieces}
    seen: Counter[str] = Counter()
    for label, cluster, count in cells:
        piece = names[cluster] if len(names) <= _COLORED else pieces[min(seen[label], len(_CLUSTER_RANKS))]
        series[piece][place[label]] += count / images[label]
        seen[label] += 1
    colors = _colors_of_clusters(result, names) if len(names) <= _COLORED else None
    title = f"{name}: clusters of each class"
    style = BarStyle(title, "share of its images", "class", stacked=True, most=1.0, colors=colors)
    return bars(labels["label"], series, style)


def _colors_of_clusters(result: Result, names: dict[int, str]) -> dict[str, str]:
    """Return a color for each cluster by its name: its main class's for the first cluster of a class, else another."""
    labels = result.tables["labels"].column("label").to_pylist()
    of_label = dict(zip(labels, COLORS, strict=False)) if len(labels) <= _COLORED else {}
    main = dict(
        zip(*(result.tables["clusters"].column(column).to_pylist() for column in ("cluster", "label")), strict=True)
    )
    colors: dict[str, str] = {}
    for cluster, name in names.items():
        color = of_label.get(main[cluster])
        if color is not None and color not in colors.values():
            colors[name] = color
    # Colors that no class has come first.
    left = [color for color in COLORS if color not in colors.values()]
    free = iter(sorted(left, key=lambda color: color in of_label.values()))
    return {name: colors[name] if name in colors else next(free) for name in names.values()}
