"""Dendrogram of classes, with the cut that makes groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram

from lookalike_indexer.charts.figures import short
from lookalike_indexer.charts.palette import COLORS
from lookalike_indexer.experiments.result import Result

_ABOVE = "0.55"
# Groups are numbered along the tree, so that neighbors differ.
_GROUPS = COLORS[:12]


def tree_figure(result: Result) -> Figure:
    """Draw a label_tree result: leaves at the left with their images, a color for each group, the cut dashed."""
    classes, merges = (result.tables[name].to_pydict() for name in ("classes", "merges"))
    count = len(classes["leaf"])
    tree = np.column_stack([merges["left"], merges["right"], merges["height"], merges["classes"]]).astype(np.float64)
    group_of = dict(zip(classes["leaf"], classes["cluster"], strict=True))
    colors = _colors(tree, group_of)
    figure = Figure(figsize=(10, 2 + 0.19 * count), layout="constrained")
    axis = figure.subplots()
    drawn: dict[str, Any] = dendrogram(
        tree, ax=axis, orientation="right", no_labels=True, link_color_func=lambda link: colors[link]
    )
    text_of = {
        leaf: f"{short(name)}  {images}"
        for leaf, name, images in zip(classes["leaf"], classes["class"], classes["images"], strict=True)
    }
    # SciPy puts leaf i at 5 + 10 i.
    axis.set_yticks(5 + 10 * np.arange(count), [text_of[leaf] for leaf in drawn["leaves"]], fontsize=8)
    for tick, leaf in zip(axis.get_yticklabels(), drawn["leaves"], strict=True):
        tick.set_color(_color(group_of[leaf]))
    axis.yaxis.tick_left()
    axis.set_xlim(0, tree[-1, 2] * 1.03 or 1)
    cut, groups = result.figures["cut"], int(result.figures["clusters"])
    axis.axvline(cut, color="black", linestyle="--", linewidth=1)
    source = "the classifier's weights" if result.settings["vectors"] == "weights" else "word vectors"
    axis.set_title(
        short(f"{result.settings['model']}: {count} classes seen, by {source}; {groups} groups at the dashed cut", 120),
        fontsize=11,
    )
    axis.set_xlabel("cosine distance, average linkage; behind each class the images that it is put first for")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return figure


def _colors(tree: np.ndarray[Any, np.dtype[np.float64]], group_of: dict[int, int]) -> dict[int, Any]:
    """Return the color of each merge, numbered after the leaves: its group's below the cut, else gray."""
    leaves = len(tree) + 1
    groups: dict[int, int | None] = dict(group_of)
    for number, (left, right) in enumerate(tree[:, :2].astype(int).tolist(), leaves):
        groups[number] = groups[left] if groups[left] == groups[right] else None
    merged = {number: groups[number] for number in range(leaves, 2 * leaves - 1)}
    return {number: _ABOVE if group is None else _color(group) for number, group in merged.items()}


def _color(group: int) -> str:
    return _GROUPS[group % len(_GROUPS)]
