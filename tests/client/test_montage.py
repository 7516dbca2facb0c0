"""The client draws the same montages as the indexer, though neither imports the other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lookalike.cli import _draw as client
from lookalike_indexer.charts import montage as indexer

STYLE = indexer.MontageStyle(tile=client.TILE, columns=6)
TEXTS = (
    "n02102040_english_springer",
    "n02102040_10026.JPEG",
    "path/" * 20 + "end.jpg",
    "ελληνικά",
    "日本",
    "\x1b[0m a",
)


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("title", ["", "What looks like n03028079_church/1.jpg " * 6])
def test_both_draw_the_same_pixels(count: int, title: str):
    picture = Image.new("RGB", (200, 100), (20, 90, 160))
    tiles = [
        (
            picture if number % 3 else None,
            TEXTS[number % 6 : number % 6 + 3],
            ("", client.QUERY, client.GOOD)[number % 3],
        )
        for number in range(count)
    ]
    drawn = client.draw([client.Section([client.Tile(*tile) for tile in tiles], name) for name in ("", title)], title)
    sections = [indexer.Section([indexer.Tile(*tile) for tile in tiles], name) for name in ("", title)]
    wanted = indexer.montage(sections, title, STYLE)
    assert drawn.size == wanted.size
    assert (np.asarray(drawn) == np.asarray(wanted)).all()
