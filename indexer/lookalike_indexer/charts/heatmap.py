"""Heatmap of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import axes as matplotlib_axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from lookalike_indexer.charts.figures import short, short_names
from lookalike_indexer.charts.palette import HEAT

# More names would be unreadable. With more rows or columns the cells are too small for numbers, because the figure has
# a maximum size.
_FULL_SIZE = 80
_NAMES, _NUMBERS = 150, 100


@dataclass(frozen=True)
class Axes:
    """The texts and the color range of a heatmap. With `vmax` None colors extend to the highest value."""

    title: str = ""
    rows: str = ""
    columns: str = ""
    values: str = ""
    vmin: float = 0.0
    vmax: float | None = None
    number: str = "{:.0f}"


def heatmap(
    matrix: npt.ArrayLike, row_names: Sequence[str], column_names: Sequence[str], axes: Axes | None = None
) -> Figure:
    """Draw a matrix of shape (rows, columns); small ones show numbers in their cells; NaN is white."""
    values = np.asarray(matrix, np.float64)
    axes = axes or Axes()
    rows, columns = values.shape
    width = float(np.clip(2.8 + 0.24 * columns, 6, 22))
    height = float(np.clip(1.9 + 0.24 * rows, 4, 22))
    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(values, cmap=HEAT, aspect="auto", vmin=axes.vmin, vmax=axes.vmax, interpolation="nearest")
    # Counts are integers: avoid ticks such as 17.5 images.
    whole = MaxNLocator(integer=True) if axes.number == Axes.number else None
    figure.colorbar(image, ax=axis, label=axes.values, shrink=0.8, aspect=40, fraction=0.03, ticks=whole)
    _name(axis.yaxis, row_names, rows)
    _name(axis.xaxis, column_names, columns)
    # Above this size, two digits are as wide as a column.
    upright = max(map(len, column_names), default=0) > 2 or columns > _FULL_SIZE
    axis.tick_params(axis="x", rotation=90 if upright else 0)
    axis.set(title=short(axes.title, 120), ylabel=_counted(axes.rows, rows), xlabel=_counted(axes.columns, columns))
    if has_numbers(rows, columns):
        _write_numbers(axis, image, values, axes.number)
    return figure


def has_numbers(rows: int, columns: int) -> bool:
    """Return whether the cells of a heatmap of this shape show numbers."""
    return rows <= _NUMBERS and columns <= _NUMBERS


def _counted(told: str, count: int) -> str:
    return f"{told} ({count:,}, too many to name)" if count > _NAMES else told


def _name(axis: Axis, names: Sequence[str], count: int) -> None:
    size = float(np.clip(900 / max(count, 1), 4, 9))
    if count <= _NAMES:
        axis.set_ticks(range(count), short_names(names), fontsize=size)
    else:
        axis.set_major_locator(MaxNLocator(10, integer=True))


def _write_numbers(axis: matplotlib_axes.Axes, image: AxesImage, values: npt.NDArray[np.float64], number: str) -> None:
    size = 7 if max(values.shape) <= _FULL_SIZE else 5.5
    for row, column in np.argwhere(np.isfinite(values)):
        value = values[row, column]
        if value == 0:
            continue
        shade = np.mean(image.cmap(image.norm(value))[:3])
        color = "white" if shade < 0.55 else "black"
        axis.text(column, row, number.format(value), ha="center", va="center", fontsize=size, color=color)
