"""Bar charts of comparisons: models by class, and strategies by space."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from lookalike_indexer.charts.bars import BarStyle, bars
from lookalike_indexer.collection.metrics import heading
from lookalike_indexer.experiments.result import Result

_SCORES = {"ari": "ARI", "nmi": "NMI", "purity": "purity", "silhouette": "silhouette"}


def accuracies_chart(result: Result) -> Figure:
    """Draw a class_accuracies result: the accuracy of each model for each label, the best on average on top."""
    metric = str(result.settings["metric"])
    by_label: dict[str, dict[str, float]] = {}
    for line in result.tables["accuracies"].to_pylist():
        by_label.setdefault(line["label"], {})[line["model"]] = line[metric]
    labels = sorted(by_label, key=lambda label: (-sum(by_label[label].values()) / len(by_label[label]), label))
    models = [str(model) for model in result.settings["models"] or []]  # type: ignore[union-attr]
    series = {model: [by_label[label].get(model, math.nan) for label in labels] for model in models}
    told = "first class" if metric == "top1" else "first five classes"
    style = BarStyle(f"How often the label is the model's {told}", "share of its images", "label", most=1.0)
    return bars(labels, series, style)


def comparison_chart(result: Result) -> Figure:
    """Draw a compare result: scores for each space and strategy, best on top; without labels only the silhouette."""
    lines = result.tables["scores"].to_pylist()
    labeled = any(math.isfinite(line["ari"]) for line in lines)
    shown = _SCORES if labeled else {"silhouette": _SCORES["silhouette"]}
    first = next(iter(shown))
    lines.sort(key=lambda line: -line[first] if math.isfinite(line[first]) else math.inf)
    names = [_named(line, result.settings["clusters"]) for line in lines]
    title = f"{result.settings['clusters']} clusters of {result.settings['sample']} images"
    silhouette = heading("silhouette", result.settings.get("metric"))
    shown = {name: silhouette if name == "silhouette" else told for name, told in shown.items()}
    measures = " and ".join(filter(None, [", ".join([*shown.values()][:-1]), [*shown.values()][-1]]))
    style = BarStyle(title, f"{measures}: higher is better", "strategy, space")
    return bars(names, {told: [line[score] for line in lines] for score, told in shown.items()}, style)


def _named(line: dict[str, Any], clusters: object) -> str:
    """Return the axis label of a row; for a stored clustering its name, and its number of clusters if it differs."""
    if not line.get("stored"):
        return f"{line['strategy']}, {line['space']}"
    others = "" if line["k"] == clusters else f" (k {line['k']})"
    return f"stored {line['stored'].partition('/')[2]}{others}, {line['space']}"
