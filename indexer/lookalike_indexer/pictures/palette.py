"""The colors of all charts and maps: distinct ones for categories, and a light scale for numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from matplotlib.colors import LinearSegmentedColormap

# Each is the color farthest by CIEDE2000 from those before it and from the gray of OTHER, among saturated ones of a
# lightness (43 to 78 in CIELAB) that shows on white and on black. The explorer's map/palette.js has the same ones; a
# test compares them.
COLORS = (
    "#1f77b4",
    "#d20000",
    "#007800",
    "#c300c3",
    "#a57800",
    "#78d200",
    "#00a596",
    "#ff6987",
    "#b496ff",
    "#ff874b",
    "#00c3ff",
    "#c31e5a",
    "#87965a",
    "#f0b400",
    "#7869a5",
    "#ff69e1",
    "#a5694b",
    "#3c4bff",
    "#5ad296",
    "#69691e",
    "#b46996",
    "#007869",
    "#00a53c",
    "#78a5f0",
)
OTHER = "#c7c7c7"
# Markers tell categories of one color apart.
MARKERS = ("o", "s", "^", "D", "v")
# As many categories as have a color and a marker of their own.
MOST = len(COLORS) * len(MARKERS)
# The explorer's steps of its heatmap, from an empty cell to a full one.
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#e0eeee", "#bfdddd", "#92c4c6", "#2f7d84"])


def frequent(categories: Sequence[str]) -> list[str]:
    """The categories that have a color: the most frequent first, among equals by name; "" is none."""
    counts = Counter(name for name in categories if name)
    return sorted(counts, key=lambda name: (-counts[name], name))[:MOST]


def palette(categories: Sequence[str]) -> dict[str, str]:
    """A color for each of the `MOST` most frequent categories, in their order; after the last color the first again."""
    return {name: COLORS[place % len(COLORS)] for place, name in enumerate(frequent(categories))}
