from __future__ import annotations

import itertools
import re
from importlib import resources

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from lookalike_indexer.charts.palette import COLORS, HEAT, MOST, OTHER, palette


def lab(color: str) -> np.ndarray:
    return rgb2lab(np.array([[int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]]))[0]


def test_no_two_colors_look_alike():
    # A difference of about 2 is just visible.
    pairs = itertools.combinations([*COLORS, OTHER], 2)
    assert min(float(deltaE_ciede2000(lab(one), lab(other))) for one, other in pairs) > 15


def test_explorer_has_the_colors_of_the_charts():
    script = (resources.files("lookalike.explorer") / "static/js/map/palette.js").read_text("utf-8")
    assert tuple(re.findall(r'"(#[0-9a-f]{6})",', script)) == COLORS
    assert f"const ROUNDS = {MOST // len(COLORS)};" in script
    assert f'const REST = rgb("{OTHER}");' in script


def test_most_frequent_categories_have_colors():
    names = [f"c{number:03d}" for number in range(130) for _ in range(131 - number)]
    found = palette(names)
    assert list(found) == [f"c{number:03d}" for number in range(120)]
    assert list(found.values())[:24] == list(COLORS)
    assert palette(["", ""]) == {}
    # Ties go to the first by name.
    assert list(palette(["b", "a", "c", "c"])) == ["c", "a", "b"]


def test_empty_cells_of_a_heatmap_are_white():
    assert HEAT(0.0)[:3] == (1.0, 1.0, 1.0)
