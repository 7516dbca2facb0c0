"""Drawings of a model's mistakes: the confusion table as a heatmap, and the misclassified images as a sheet."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lookalike_indexer.charts.heatmap import Axes, has_numbers, heatmap
from lookalike_indexer.charts.montage import ODD, MontageStyle, Section, Tile, montage
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.text import plain_names

# The maximum number of columns for predicted classes that can show numbers; the rest is one combined column.
_COLUMNS, _FEWEST_OTHERS = 29, 9
_STYLE = MontageStyle(tile=144, columns=8)


def confusion_figure(result: Result, beside: str = "") -> Figure:
    """Draw labels by predicted classes: first the classes that labels stand for, then the most frequent others.

    `beside` names a file with all counts, which the figure mentions if it is incomplete.
    """
    cells = result.tables["confusion"].to_pylist()
    labels = list(dict.fromkeys(cell["label"] for cell in cells))
    # By index: ImageNet has two classes named crane.
    names = {cell["class_index"]: cell["class"] for cell in cells}
    own = list(dict.fromkeys(cell["class_index"] for cell in cells if cell["right"]))
    counts: Counter[int] = Counter()
    for cell in cells:
        if cell["class_index"] not in own:
            counts[cell["class_index"]] += cell["count"]
    frequent = sorted(counts, key=lambda index: (-counts[index], index))
    most = max(_COLUMNS - len(own), _FEWEST_OTHERS)
    drawn, left = [*own, *frequent[:most]], len(frequent[most:])
    columns = [*(names[index] for index in drawn), *([f"{left} other classes"] if left else [])]
    place = {index: number for number, index in enumerate(drawn)}
    row_of = {label: number for number, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(columns)))
    for cell in cells:
        matrix[row_of[cell["label"]], place.get(cell["class_index"], len(columns) - 1)] += cell["count"]
    figures = result.figures
    title = f"{result.settings['model']}: wrong about {figures['wrong']:.0f} of {figures['images']:.0f} images"
    lacking = [f"{left} other classes are one column"] if left else []
    lacking += [] if has_numbers(*matrix.shape) else ["cells are too small for numbers"]
    told = f"\n{'; '.join(lacking)}" + (f"; {beside} has every count" if beside else "") if lacking else ""
    axes = Axes(title, "label", f"predicted class{told}", "images")
    return heatmap(matrix, labels, columns, axes)


def mistakes_sheet(result: Result, thumbnails: Thumbnails) -> Image.Image:
    """Draw the misclassified images, the most confident first: label, predicted class, probability and file."""
    listed = result.tables["mistakes"].to_pylist()
    pictures = thumbnails.pictures_of_ids([line["id"] for line in listed])
    tiles = [Tile(picture, _caption(line), ODD, words=3) for picture, line in zip(pictures, listed, strict=True)]
    wrong = int(result.figures["wrong"])
    told = f"the first {len(listed):,} of {wrong:,}" if len(listed) < wrong else f"{wrong:,}"
    title = f"Images that {result.settings['model']} takes for another class, most confident first: {told}"
    return montage([Section(tiles)], title, _STYLE)


def _caption(line: dict[str, Any]) -> list[str]:
    file = line["key"].rsplit("/", 1)[-1]
    return [f"{line['rank']}. {plain_names(line['label'])}", f"for {line['class']}", _percent(line), file]


def _percent(line: dict[str, Any]) -> str:
    own = line["label_probability"]
    told = f"{line['probability']:.0%}"
    if not line["label_rank"]:
        return told
    return f"{told}, label {own:.0%}" if own >= 0.005 else f"{told}, label < 1%"
