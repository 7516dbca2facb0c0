"""Bar charts of comparisons: models by class, and strategies by space."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from lookalike_indexer.experiments.result import Result
from lookalike_indexer.pictures.bars import BarStyle, bars

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
    """Draw a compare result: scores for each space and strategy, best on top; without labels the silhouette alone."""
    lines = result.tables["scores"].to_pylist()
    labelled = any(math.isfinite(line["ari"]) for line in lines)
    shown = _SCORES if labelled else {"silhouette": _SCORES["silhouette"]}
    first = next(iter(shown))
    lines.sort(key=lambda line: -line[first] if math.isfinite(line[first]) else math.inf)
    names = [f"{line['strategy']}, {line['space']}" for line in lines]
    title = f"{result.settings['clusters']} clusters of {result.settings['sample']} images"
    style = BarStyle(title, "higher is better", "strategy, space")
    return bars(names, {told: [line[score] for line in lines] for score, told in shown.items()}, style)
