"""Maps of images: as points with a legend, or as thumbnails that do not overlap."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image, ImageDraw, ImageOps
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from lookalike_indexer.arrays import Float64
from lookalike_indexer.charts.figures import short, short_names
from lookalike_indexer.charts.lettering import fitted, font
from lookalike_indexer.charts.montage import FAINT, INK, PAPER
from lookalike_indexer.charts.palette import COLORS, MARKERS, OTHER

_MARGIN = 12
_LEGEND_WIDTH = 260
_LEGEND_ROWS = 44
_NAME_POINTS = 8
_NAME_WIDTH = 26
# The positions of a name relative to its point: to the right, up (-1 to 1), in order of preference.
_BESIDE = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
_SIDES = {-1: ("right", "top"), 0: ("center", "center"), 1: ("left", "bottom")}


@dataclass(frozen=True)
class Map:
    """Positions (n, 2) with a category for each, the colors of some categories, the legend's title, and a title.

    Other categories are gray. `pictures.palette.palette` makes the colors; those of all images fit a map of some of
    them. `names` are drawn beside their x and y; if empty, each category has its name beside the median of its points.
    """

    places: Float64
    categories: Sequence[str]
    colors: Mapping[str, str]
    by: str
    title: str
    names: Sequence[tuple[str, float, float]] = ()


def centers(places: Float64, clusters: npt.NDArray[np.integer], names: Sequence[str]) -> list[tuple[str, float, float]]:
    """Return the name of each named cluster, at the image nearest to the median of its places (n, 2).

    `clusters` int32 (n,) is the cluster of each place, -1 for none.
    """
    found = []
    for cluster, name in enumerate(names):
        own = places[clusters == cluster]
        if name and len(own):
            apart = np.square(own - np.median(own, axis=0)).sum(axis=1)
            x, y = own[int(apart.argmin())].tolist()
            found.append((name, x, y))
    return found


def points(chart: Map) -> Figure:
    """Draw a map as points with names beside them; points of categories without a color are gray.

    Categories of one color have different markers. A name is placed where it hides the fewest points, and left out if
    it would overlap another everywhere.
    """
    columns = max(1, math.ceil((len(chart.colors) + 1) / _LEGEND_ROWS))
    figure = Figure(figsize=(9 + 2 * columns, 8), layout="constrained")
    axis = figure.subplots()
    categories = np.asarray(chart.categories, dtype=object)
    size = float(np.clip(30_000 / max(len(categories), 1), 5, 50))
    other = ~np.isin(categories, list(chart.colors))
    if other.any():
        label = f" other ({int(other.sum())})"
        axis.scatter(chart.places[other, 0], chart.places[other, 1], s=size, color=OTHER, linewidths=0, label=label)
    texts = short_names(list(chart.colors))
    for number, (name, color) in enumerate(chart.colors.items()):
        own = categories == name
        if not own.any():
            continue
        label = f" {texts[number]} ({int(own.sum())})"
        marker = MARKERS[number // len(COLORS) % len(MARKERS)]
        x, y = chart.places[own].T
        axis.scatter(x, y, s=size, color=color, marker=marker, linewidths=0, label=label)
    axis.set(xticks=[], yticks=[], title=short(chart.title, 120), aspect="equal", adjustable="datalim")
    scale = max(1.0, 5 / math.sqrt(size))
    figure.legend(loc="outside right upper", fontsize=8, markerscale=scale, title=chart.by, ncols=columns)
    apart = 2 + math.sqrt(size) / 2
    _write_names(figure, axis, chart.places, chart.names or _middles(chart, categories), apart)
    return figure


def _middles(chart: Map, categories: npt.NDArray[np.object_]) -> list[tuple[str, float, float]]:
    """Return the name of each category with a color, at the median of its points."""
    found = []
    for name in chart.colors:
        own = categories == name
        if own.any():
            x, y = np.median(chart.places[own], axis=0).tolist()
            found.append((name, x, y))
    return found


def _write_names(
    figure: Figure, axis: Any, places: Float64, names: Sequence[tuple[str, float, float]], apart: float
) -> None:
    """Write names `apart` points beside their places, where each hides the fewest points, the first names first.

    A name that would overlap another in every position is left out.
    """
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # Rendering determines the positions of the points on the page.
    dots = axis.transData.transform(places)
    taken: list[Any] = []
    halo = [withStroke(linewidth=2.5, foreground="white")]
    style: dict[str, Any] = {"fontsize": _NAME_POINTS, "zorder": 5, "linespacing": 1.0, "annotation_clip": False}
    for name, x, y in names:
        lines = textwrap.fill(short(name, 2 * _NAME_WIDTH), _NAME_WIDTH, break_long_words=False)
        text = axis.annotate(lines, (x, y), (0, 0), textcoords="offset points", path_effects=halo, **style)
        free = []
        for order, side in enumerate(_BESIDE):
            _stand(text, side, apart)
            box = text.get_window_extent()
            if _within(box, axis.bbox) and not any(box.overlaps(each) for each in taken):
                free.append((_hidden(box, dots), order, side, box))
        if not free:
            text.remove()
            continue
        _, _, side, box = min(free, key=lambda each: each[:2])
        _stand(text, side, apart)
        taken.append(box)


def _stand(text: Any, side: tuple[int, int], apart: float) -> None:
    """Move a name to a side of its place."""
    across, up = side
    text.set_position((across * apart, up * apart))
    text.set_horizontalalignment(_SIDES[across][0])
    text.set_verticalalignment(_SIDES[up][1])


def _within(box: Any, paper: Any) -> bool:
    return bool((box.min >= paper.min).all() and (box.max <= paper.max).all())


def _hidden(box: Any, dots: Float64) -> int:
    """Return how many points (n, 2) are below a box of letters."""
    low, high = box.min, box.max
    return int(((dots >= low) & (dots <= high)).all(axis=1).sum())


def thumbnails(chart: Map, picture: Callable[[int], Image.Image | None], tile: int = 56) -> Image.Image:
    """Draw a map of thumbnails without overlap; `picture` gives that of each position.

    Each image gets a cell of a grid of about twice as many cells, with the minimum sum of squared distances to their
    positions: the assignment problem (Kuhn, 1955), as in IsoMatch (Fried, DiVerdi, Halber, Sizikova, Finkelstein,
    2015). A frame has its category's color.
    """
    cells, columns, rows = grid_cells(chart.places)
    colors = chart.colors
    head = 40
    width = _MARGIN + columns * tile + _LEGEND_WIDTH
    canvas = Image.new("RGB", (width, max(rows * tile + head + _MARGIN, 24 * len(colors) + 90)), PAPER)
    pen = ImageDraw.Draw(canvas)
    letters = font(17, bold=True)
    pen.text((_MARGIN, 10), fitted(chart.title, canvas.width - 2 * _MARGIN, letters), INK, letters)
    for number, (column, row) in enumerate(cells.tolist()):
        corner = (_MARGIN + column * tile, head + row * tile)
        _draw_tile(canvas, pen, picture(number), corner, tile, colors.get(chart.categories[number], OTHER))
    _draw_legend(pen, chart.by, colors, (_MARGIN + columns * tile + 14, head))
    return canvas


def grid_cells(places: Float64) -> tuple[npt.NDArray[np.int64], int, int]:
    """Assign a separate cell to each position (n, 2); return int64 (n, 2) of column and row, and the grid's size.

    The top row has the highest y.
    """
    count = len(places)
    low, high = places.min(0), places.max(0)
    extent = np.maximum(high - low, 1e-9)
    aspect = float(np.clip(extent[0] / extent[1], 0.5, 2))
    columns = math.ceil(math.sqrt(2 * count * aspect))
    rows = math.ceil(2 * count / columns)
    wanted = (places - low) / extent * [columns - 1, rows - 1]
    wanted[:, 1] = rows - 1 - wanted[:, 1]
    free = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    _, chosen = linear_sum_assignment(cdist(wanted, free, "sqeuclidean"))
    found = free[chosen]
    # Remove unused rows and columns at the sides.
    found = found - found.min(0)
    return found, int(found[:, 0].max()) + 1, int(found[:, 1].max()) + 1


def _draw_tile(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    picture: Image.Image | None,
    corner: tuple[int, int],
    tile: int,
    color: str,
) -> None:
    left, top = corner
    pen.rectangle((left + 1, top + 1, left + tile - 2, top + tile - 2), fill=color)
    inside = tile - 8
    if picture is None:
        pen.rectangle((left + 4, top + 4, left + tile - 5, top + tile - 5), fill=FAINT)
    else:
        canvas.paste(ImageOps.fit(picture, (inside, inside), Image.Resampling.LANCZOS), (left + 4, top + 4))


def _draw_legend(pen: ImageDraw.ImageDraw, by: str, colors: Mapping[str, str], corner: tuple[int, int]) -> None:
    left, top = corner
    if colors:
        pen.text((left, top), by, INK, font(13, bold=True))
    for number, (name, color) in enumerate(colors.items(), 1):
        line = top + 24 * number
        pen.rectangle((left, line + 2, left + 12, line + 14), fill=color)
        pen.text((left + 20, line), fitted(name, _LEGEND_WIDTH - 44, font(12)), INK, font(12))
