"""Pictures of the class x cluster matrix: a heatmap, what each cluster is made of, where each class went."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.figure import Figure

from lookalike_indexer.experiments.result import Result
from lookalike_indexer.pictures.bars import BarStyle, bars
from lookalike_indexer.pictures.heatmap import Axes, heatmap

# Labels with a colour of their own in the bars; the others are one grey piece.
_COLOURED = 19


def matrix_figures(result: Result) -> dict[str, Figure]:
    """The charts of a class_matrix result, by file name."""
    name = str(result.settings["clustering"])
    return {
        "matrix": _heatmap(result, name),
        "clusters": _composition(result, name),
        "classes": _purity_of_classes(result, name),
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
    """A bar for each cluster, in the order of the heatmap, in the colours of the most frequent labels."""
    clusters = result.tables["clusters"].sort_by("position").to_pydict()
    counts = result.tables["counts"].to_pydict()
    place = {cluster: number for number, cluster in enumerate(clusters["cluster"])}
    totals: Counter[str] = Counter()
    for label, count in zip(counts["label"], counts["count"], strict=True):
        totals[label] += count
    coloured = [label for label, _ in totals.most_common(_COLOURED)]
    coloured = sorted(coloured)
    series = {label: np.zeros(len(place)) for label in coloured}
    other = np.zeros(len(place))
    for label, cluster, count in zip(counts["label"], counts["cluster"], counts["count"], strict=True):
        series.get(label, other)[place[cluster]] += count
    if other.any():
        series["other"] = other
    names = [str(cluster) for cluster in clusters["cluster"]]
    style = BarStyle(f"{name}: what each cluster is made of", "images", "cluster", stacked=True)
    return bars(names, {label: values.tolist() for label, values in series.items()}, style)


def _purity_of_classes(result: Result, name: str) -> Figure:
    """How much of each class is in its largest cluster and in its other main ones, the least held together first."""
    labels = result.tables["labels"].sort_by("share").to_pydict()
    counts = result.tables["counts"]
    main: Counter[str] = Counter()
    for label, count, is_main in zip(
        *(counts[column].to_pylist() for column in ("label", "count", "is_main")), strict=True
    ):
        main[label] += count if is_main else 0
    held = [
        main[label] / images if images else 0.0 for label, images in zip(labels["label"], labels["images"], strict=True)
    ]
    series = {
        "in its largest cluster": labels["share"],
        "in its other main clusters": [both - first for both, first in zip(held, labels["share"], strict=True)],
    }
    style = BarStyle(f"{name}: where each class went", "share of its images", "class", stacked=True, most=1.0)
    return bars(labels["label"], series, style)
