"""Chart of a model's evolution: its measures by step, and its aligned maps."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from lookalike_indexer.charts.figures import short, short_names
from lookalike_indexer.charts.palette import OTHER, palette
from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.experiments.result import Result

_LINES = {
    "accuracy": "images whose top class is their label's",
    "purity": "purity of the clusters",
    "nmi": "NMI of clusters and labels",
    "moved": "images that changed clusters",
    "churn": "new among the nearest neighbors",
    "predictions_changed": "images whose top class changed",
}
_MAPS = 6
_COLORED = 20
# Names in a column of the legend that fit beside one row of maps.
_LEGEND_ROWS = 15
Color = Literal["label", "prediction"]


def evolution_chart(result: Result, color: Color = "label") -> Figure:
    """Draw an evolution: lines by step above, at most six maps, of equally spaced steps, below.

    The maps are colored by the images' labels, or by each step's predictions.
    """
    steps = result.tables["steps"].to_pydict()
    names = steps["step"]
    shown = sorted({round(place) for place in np.linspace(0, len(names) - 1, min(_MAPS, len(names))).tolist()})
    # Four maps form a square, not a row of three and one.
    columns = 2 if len(shown) == 4 else min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(10, 3.6 + 3.1 * rows), layout="constrained")
    lines, maps = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.6, 3.1 * rows])[:, 0]
    # A result of an earlier version has no metric.
    metric = NAMES.get(str(result.settings.get("metric")))
    _draw_lines(lines.subplots(), steps, str(result.settings["model"]), metric)
    axes = maps.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    _draw_maps(maps, axes, result, [names[place] for place in shown], color)
    return figure


def _draw_lines(axis: Any, steps: dict[str, list[Any]], model: str, metric: str | None) -> None:
    places = range(len(steps["step"]))
    for column, told in _LINES.items():
        values = steps[column]
        if any(math.isfinite(value) for value in values):
            if column == "churn" and metric:
                told = f"{told} ({metric})"
            dashed = column in ("moved", "churn", "predictions_changed")
            axis.plot(places, values, marker="o", markersize=4, label=told, linestyle="--" if dashed else "-")
    axis.set_xticks(places, steps["step"], rotation=30 if len(steps["step"]) > 8 else 0)
    axis.set_ylim(0, 1.02)
    axis.set_title(f"{model} over its checkpoints; dashed: against the step before", fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_maps(figure: Any, axes: Any, result: Result, names: list[str], color: Color) -> None:
    places = result.tables["map"].to_pydict()
    step, category = np.array(places["step"]), np.array(places[color], dtype=object)
    x, y = np.array(places["x"]), np.array(places["y"])
    # The colors are those of all steps, because predictions differ from step to step.
    drawn = np.isin(step, names)
    colors = dict(list(palette(category[drawn].tolist()).items())[:_COLORED])
    handles: dict[str, Any] = {}
    for axis, name in zip(axes, names, strict=False):
        here = step == name
        other = here & ~np.isin(category, list(colors))
        if other.any():
            handles["other"] = axis.scatter(x[other], y[other], s=7, color=OTHER, linewidths=0)
        for text, shade in colors.items():
            own = here & (category == text)
            if own.any():
                handles[text] = axis.scatter(x[own], y[own], s=10, color=shade, linewidths=0)
        axis.set_title(short(name), fontsize=9)
        axis.set_axis_on()
        axis.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    if colors:
        listed = [text for text in (*colors, "other") if text in handles]
        texts = [f" {text}" for text in short_names(listed)]
        figure.legend(
            [handles[text] for text in listed],
            texts,
            loc="outside right upper",
            fontsize=8,
            markerscale=2,
            title=color,
            ncols=math.ceil(len(listed) / (_LEGEND_ROWS * axes[0].get_gridspec().nrows)),
        )
