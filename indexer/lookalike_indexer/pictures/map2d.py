"""Maps of images: as points with a legend, and as thumbnails that do not overlap."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image, ImageDraw, ImageOps
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from lookalike_indexer.pictures.figures import short
from lookalike_indexer.pictures.lettering import fitted, font
from lookalike_indexer.pictures.montage import FAINT, INK, PAPER

Float64 = npt.NDArray[np.float64]
Colour = tuple[float, float, float, float]
# More colours are told apart by nobody; the other categories are grey, which is left out here.
_FEW: list[Colour] = [matplotlib.colormaps["tab10"](number) for number in range(10)]
_MANY: list[Colour] = [matplotlib.colormaps["tab20"](number) for number in range(20) if number not in (14, 15)]
_OTHER: Colour = (0.78, 0.78, 0.78, 1.0)
_LEGEND_WIDTH = 260


@dataclass(frozen=True)
class Map:
    """Positions (n, 2) with a category for each, the colours of some categories, what they are, and a title.

    Other categories are grey. `palette` makes the colours; those of all images
    fit a map of some of them. `names` stand at their x and y, over the points.
    """

    places: Float64
    categories: Sequence[str]
    colours: Mapping[str, Colour]
    by: str
    title: str
    names: Sequence[tuple[str, float, float]] = ()


def centers(places: Float64, clusters: npt.NDArray[np.integer], names: Sequence[str]) -> list[tuple[str, float, float]]:
    """The name of each cluster with a name, at the image nearest to the median of its places (n, 2).

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
    """Draw a map as points; those of categories without a colour are grey."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    axis = figure.subplots()
    categories = np.asarray(chart.categories, dtype=object)
    size = float(np.clip(6000 / max(len(categories), 1), 2, 28))
    other = ~np.isin(categories, list(chart.colours))
    if other.any():
        label = f" other ({int(other.sum())})"
        axis.scatter(chart.places[other, 0], chart.places[other, 1], s=size, color=[_OTHER], linewidths=0, label=label)
    for name, colour in chart.colours.items():
        own = categories == name
        label = f" {short(name)} ({int(own.sum())})"
        axis.scatter(chart.places[own, 0], chart.places[own, 1], s=size, color=[colour], linewidths=0, label=label)
    axis.set(xticks=[], yticks=[], title=short(chart.title, 120), aspect="equal", adjustable="datalim")
    for name, x, y in chart.names:
        text = axis.text(x, y, short(name, 30), fontsize=7, ha="center", va="center", zorder=5)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    figure.legend(loc="outside right upper", fontsize=8, markerscale=max(1.0, 5 / math.sqrt(size)), title=chart.by)
    return figure


def palette(categories: Sequence[str]) -> dict[str, Colour]:
    """A colour for each of the eighteen most frequent categories, by name; among equals the first by name."""
    counts = Counter(name for name in categories if name)
    chosen = sorted(sorted(counts), key=lambda name: -counts[name])[: len(_MANY)]
    colours = _FEW if len(counts) <= len(_FEW) else _MANY
    return dict(zip(sorted(chosen), colours, strict=False))


def thumbnails(chart: Map, picture: Callable[[int], Image.Image | None], tile: int = 56) -> Image.Image:
    """Draw a map of thumbnails, none over another; `picture` gives that of each position.

    Each picture gets a cell of a grid of about twice as many cells, so that
    the sum of squared distances to where they belong is least: the assignment
    problem (Kuhn, 1955), as IsoMatch lays out pictures (Fried, DiVerdi,
    Halber, Sizikova, Finkelstein, 2015). A frame has its category's colour.
    """
    cells, columns, rows = grid_cells(chart.places)
    colours = chart.colours
    head = 40
    canvas = Image.new("RGB", (columns * tile + _LEGEND_WIDTH, max(rows * tile + head, 24 * len(colours) + 90)), PAPER)
    pen = ImageDraw.Draw(canvas)
    letters = font(17, bold=True)
    pen.text((10, 10), fitted(chart.title, canvas.width - 20, letters), INK, letters)
    for number, (column, row) in enumerate(cells.tolist()):
        corner = (column * tile, head + row * tile)
        _draw_tile(canvas, pen, picture(number), corner, tile, colours.get(chart.categories[number], _OTHER))
    _draw_legend(pen, chart.by, colours, (columns * tile + 14, head))
    return canvas


def grid_cells(places: Float64) -> tuple[npt.NDArray[np.int64], int, int]:
    """A cell of its own for each position (n, 2): int64 (n, 2) of column and row, and the grid's columns and rows.

    Up is where y is highest.
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
    # What no picture needs at the sides is cut off.
    found = found - found.min(0)
    return found, int(found[:, 0].max()) + 1, int(found[:, 1].max()) + 1


def _draw_tile(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    picture: Image.Image | None,
    corner: tuple[int, int],
    tile: int,
    colour: Colour,
) -> None:
    left, top = corner
    pen.rectangle((left + 1, top + 1, left + tile - 2, top + tile - 2), fill=_rgb(colour))
    inside = tile - 8
    if picture is None:
        pen.rectangle((left + 4, top + 4, left + tile - 5, top + tile - 5), fill=FAINT)
    else:
        canvas.paste(ImageOps.fit(picture, (inside, inside), Image.Resampling.LANCZOS), (left + 4, top + 4))


def _draw_legend(pen: ImageDraw.ImageDraw, by: str, colours: Mapping[str, Colour], corner: tuple[int, int]) -> None:
    left, top = corner
    if colours:
        pen.text((left, top), by, INK, font(13, bold=True))
    for number, (name, colour) in enumerate(colours.items(), 1):
        line = top + 24 * number
        pen.rectangle((left, line + 2, left + 12, line + 14), fill=_rgb(colour))
        pen.text((left + 20, line), fitted(name, _LEGEND_WIDTH - 44, font(12)), INK, font(12))


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colour[:3])
    return red, green, blue
