"""Charts of choose_k, label_tree, class_accuracies and compare."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike_indexer.charts.choose_k import choose_k_chart
from lookalike_indexer.charts.dendrogram import tree_figure
from lookalike_indexer.charts.evolution import evolution_chart
from lookalike_indexer.charts.figures import png
from lookalike_indexer.charts.scores import accuracies_chart, comparison_chart
from lookalike_indexer.experiments.result import Result


def test_chart_of_choose_k_marks_what_each_rule_says():
    measures = ["inertia", "silhouette", "davies_bouldin", "calinski_harabasz", "stability"]
    table = {"k": [2, 3, 4], **{name: [3.0, 1.0, np.nan] for name in measures}}
    rules = {"rule": ["elbow", *measures[1:]], "k": [3, 2, 3, 2, 2], "value": [1.0] * 5}
    tables = {"k": pa.table(table), "rules": pa.table(rules)}
    figure = choose_k_chart(Result("choose_k", {"space": "tiny", "metric": "cosine"}, tables, {"recommended": 2.0}))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[:2] == ["silhouette (cosine), highest: 2", "inertia (squared Euclidean), at its elbow: 3"]
    ring = figure.axes[1].lines[-1]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([3], [1.0])
    assert png(figure)[:4] == b"\x89PNG"


@pytest.fixture
def tree() -> Result:
    """Leaves 2 and 0 merge first, then 1 and 3, then all."""
    classes = {"leaf": [2, 0, 1, 3], "class": ["c", "a", "b", "$d$"], "images": [4, 3, 2, 1], "cluster": [0, 0, 1, 1]}
    merges = {"left": [0, 1, 4], "right": [2, 3, 5], "height": [0.1, 0.3, 0.9], "classes": [2, 2, 4]}
    tables = {"classes": pa.table(classes), "merges": pa.table(merges)}
    return Result("label_tree", {"model": "net", "vectors": "weights"}, tables, {"cut": 0.6, "clusters": 2.0})


def test_tree_has_its_leaves_by_name_in_the_color_of_their_group(tree):
    (axis,) = tree_figure(tree).axes
    labels = [tick.get_text() for tick in axis.get_yticklabels()]
    assert sorted(labels) == [r"\$d\$  1", "a  3", "b  2", "c  4"]
    color = {tick.get_text(): tick.get_color() for tick in axis.get_yticklabels()}
    assert color["a  3"] == color["c  4"] != color["b  2"] == color[r"\$d\$  1"]
    assert labels.index("a  3") == labels.index("c  4") - 1 or labels.index("a  3") == labels.index("c  4") + 1
    assert list(axis.lines[-1].get_xdata()) == [0.6, 0.6]
    assert axis.get_title() == "net: 4 classes seen, by the classifier's weights; 2 groups at the dashed cut"


def test_accuracies_are_drawn_best_first_with_gaps_for_missing_values():
    lines = [
        {"label": "cat", "model": "a", "top1": 0.2, "top5": 0.5},
        {"label": "cat", "model": "b", "top1": 0.4, "top5": 0.5},
        {"label": "dog", "model": "a", "top1": 0.9, "top5": 1.0},
    ]
    result = Result(
        "class_accuracies", {"models": ["a", "b"], "metric": "top1"}, {"accuracies": pa.Table.from_pylist(lines)}
    )
    (axis,) = accuracies_chart(result).axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["dog", "cat"]
    assert [[bar.get_width() for bar in series] for series in axis.containers] == [[0.9, 0.2], [0.0, 0.4]]


def test_comparison_shows_the_silhouette_alone_where_there_are_no_labels():
    line = {"space": "s", "purity": np.nan, "nmi": np.nan, "ari": np.nan}
    lines = [{**line, "strategy": "kmeans", "silhouette": 0.1}, {**line, "strategy": "whitened", "silhouette": 0.3}]
    result = Result(
        "compare", {"clusters": 2, "sample": 9, "metric": "cosine"}, {"scores": pa.Table.from_pylist(lines)}
    )
    (axis,) = comparison_chart(result).axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["whitened, s", "kmeans, s"]
    assert [[bar.get_width() for bar in series] for series in axis.containers] == [[0.3, 0.1]]
    labeled = pa.Table.from_pylist([{**each, "ari": 0.5, "nmi": 0.6, "purity": 0.7} for each in lines])
    axes = comparison_chart(Result("compare", result.settings, {"scores": labeled})).axes
    assert len(axes[0].containers) == 4
    assert (axis.get_xlabel(), axes[0].get_xlabel()) == (
        "silhouette (cosine): higher is better",
        "ARI, NMI, purity and silhouette (cosine): higher is better",
    )


def test_stored_clusterings_are_named_in_the_comparison():
    own = {"space": "s", "strategy": "kmeans", "stored": "", "k": 4, "ari": np.nan, "silhouette": 0.1}
    stored = {**own, "strategy": "whitened", "stored": "s/k5-whitened", "k": 5, "silhouette": 0.3}
    result = Result("compare", {"clusters": 4, "sample": 9}, {"scores": pa.Table.from_pylist([own, stored])})
    (axis,) = comparison_chart(result).axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [
        "stored k5-whitened (k 5), s",
        "kmeans, s",
    ]


def test_evolution_legend_is_inside_the_chart():
    measures = ["accuracy", "purity", "nmi", "moved", "churn", "predictions_changed"]
    steps = {"step": ["step1", "step2"], **{name: [0.5, 0.6] for name in measures}}
    labels = [f"label {number:02d}" for number in range(24)]
    every = {"step": ["step1"] * 24 + ["step2"] * 24, "label": labels * 2, "x": [*range(24)] * 2, "y": [*range(24)] * 2}
    figure = evolution_chart(Result("evolution", {"model": "net"}, {"steps": pa.table(steps), "map": pa.table(every)}))
    figure.canvas.draw()
    (legend,) = figure.subfigs[1].legends
    box = legend.get_window_extent()
    assert (box.y0 >= 0, box.x1 <= figure.bbox.x1) == (True, True)
