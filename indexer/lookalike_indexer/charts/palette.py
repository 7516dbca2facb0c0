"""Colors of all charts and maps: distinct ones for categories, and a light scale for numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from matplotlib.colors import LinearSegmentedColormap

# Each color is the farthest by CIEDE2000 from the previous ones and from the gray of OTHER, among saturated colors with
# a lightness (43 to 78 in CIELAB) that is visible on white and on black. The explorer's map/palette.js has the same
# ones; a test compares them.
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
# Markers distinguish categories of the same color.
MARKERS = ("o", "s", "^", "D", "v")
# The number of categories with a distinct combination of color and marker.
MOST = len(COLORS) * len(MARKERS)
# The colors of the explorer's heatmap, from an empty cell to a full one.
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#e0eeee", "#bfdddd", "#92c4c6", "#2f7d84"])


def frequent(categories: Sequence[str]) -> list[str]:
    """Return the categories that have a color, the most frequent first, then by name; "" is no category."""
    counts = Counter(name for name in categories if name)
    return sorted(counts, key=lambda name: (-counts[name], name))[:MOST]


def palette(categories: Sequence[str]) -> dict[str, str]:
    """Return a color for each of the `MOST` most frequent categories, in order; after the last color they repeat."""
    return {name: COLORS[place % len(COLORS)] for place, name in enumerate(frequent(categories))}
