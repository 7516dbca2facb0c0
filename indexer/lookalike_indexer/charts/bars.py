"""Bar charts: one horizontal bar, or group of bars, for each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lookalike_indexer.charts.figures import short, short_names
from lookalike_indexer.charts.palette import COLORS, OTHER

# More bars would be unreadable.
MOST = 120


@dataclass(frozen=True)
class BarStyle:
    """The texts of a chart; `stacked` puts the series behind each other, else they are side by side.

    `whole` means that the values are integers. `colors` are those of the series, by name.
    """

    title: str = ""
    values: str = ""
    names: str = ""
    stacked: bool = False
    most: float | None = None
    whole: bool = False
    colors: Mapping[str, str] | None = None


def bars(names: Sequence[str], series: Mapping[str, Sequence[float]], style: BarStyle | None = None) -> Figure:
    """Draw the values of each series for each name, the first name on top; NaN has no bar.

    Only the first 120 names are drawn, which the title states. A series named "other" is gray, and left out if it has
    no bar.
    """
    style = style or BarStyle()
    series = {name: values for name, values in series.items() if name != "other" or np.nan_to_num(values).any()}
    shown = min(len(names), MOST)
    title = style.title + (f" (the first {shown} of {len(names)})" if shown < len(names) else "")
    together = 1 if style.stacked else max(1, len(series))
    figure = Figure(figsize=(9, 1.6 + 0.17 * shown * max(1.3, 0.8 * together)), layout="constrained")
    axis = figure.subplots()
    places = np.arange(shown)
    thickness = 0.8 / together
    start = np.zeros(shown)
    colors, labels = _colors(list(series), style.colors), short_names(list(series))
    for number, values in enumerate(series.values()):
        lengths = np.nan_to_num(np.asarray(values[:shown], np.float64))
        offset = 0.0 if style.stacked else (number - (together - 1) / 2) * thickness
        left = start if style.stacked else None
        # matplotlib omits names with a leading underscore from the legend; a space before it is invisible.
        axis.barh(places + offset, lengths, thickness, left=left, color=colors[number], label=f" {labels[number]}")
        start = start + lengths
    axis.set_yticks(places, short_names(names[:shown]), fontsize=8)
    axis.set_ylim(shown - 0.4, -0.6)
    axis.set(title=short(title, 120), xlabel=style.values, ylabel=style.names)
    if style.most is not None:
        axis.set_xlim(0, style.most)
    if style.whole:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(series) > 1:
        figure.legend(loc="outside right upper", fontsize=8)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    return figure


def _colors(names: list[str], given: Mapping[str, str] | None) -> list[str]:
    if given is not None:
        return [given[name] for name in names]
    named = iter(range(len(names)))
    return [OTHER if name == "other" else COLORS[next(named) % len(COLORS)] for name in names]
