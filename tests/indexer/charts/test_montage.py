from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lookalike_indexer.charts.lettering import fitted, font, wrapped
from lookalike_indexer.charts.montage import ODD, MontageStyle, Section, Tile, montage

STYLE = MontageStyle(tile=40, columns=3, gap=6, margin=8)


def red(width: int = 40, height: int = 40) -> Image.Image:
    return Image.new("RGB", (width, height), (255, 0, 0))


def count(picture: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == color).all(axis=2).sum())


def test_every_tile_is_drawn_and_rows_wrap():
    one = montage([Section([Tile(red())] * 3)], style=STYLE)
    two = montage([Section([Tile(red())] * 4)], style=STYLE)
    assert count(one, (255, 0, 0)) == 3 * 1600
    assert count(two, (255, 0, 0)) == 4 * 1600
    assert (two.width, two.height - one.height) == (one.width, 40 + 4 + 6)


def test_images_keep_their_proportions():
    assert count(montage([Section([Tile(red(200, 100))])], style=STYLE), (255, 0, 0)) == 40 * 20


def test_missing_image_has_a_place_and_a_frame_a_color():
    drawn = montage([Section([Tile(None, ["gone"], ODD)])], style=STYLE)
    assert count(drawn, (0xE4, 0xE4, 0xE4)) > 1000
    assert count(drawn, (0xC0, 0x20, 0x20)) > 3 * 4 * 40


def test_any_text_can_be_a_caption():
    texts = ["a" * 500, "日本語/の/画像.jpg", "مرحبا", "x\x00\x1b[0m\n", "\udc80", ""]
    drawn = montage([Section([Tile(red(), [text, text]) for text in texts], "T" * 400)], "title " * 200, STYLE)
    assert count(drawn, (255, 0, 0)) == 6 * 1600


def test_long_captions_leave_most_of_the_gap_free():
    style = MontageStyle()
    drawn = np.asarray(montage([Section([Tile(red(), ["wide caption " * 9, "of/a/long/path/" * 9])] * 2)], style=style))
    below = style.margin + style.tile + 2
    left = style.margin + style.tile
    written = (drawn[below:, left : left + style.gap] < 128).any(axis=(0, 2))
    assert drawn[below:, style.margin : left].min() < 128
    assert not written[-(2 * style.gap) // 3 :].any()


def test_empty_montage_is_drawn():
    assert montage([], "nothing", STYLE).width == 160


@pytest.mark.parametrize("keep_end", [False, True])
def test_text_is_cut_to_its_room(keep_end: bool):
    letters = font(12)
    text = fitted("beginning/of/a/long/path/end", 80, letters, keep_end)
    assert letters.getlength(text) <= 80
    assert (text.startswith("…"), text.endswith("…")) == (keep_end, not keep_end)
    assert fitted("short", 80, letters) == "short"


def test_titles_are_wrapped_at_spaces():
    letters = font(12)
    lines = wrapped("one two three four five six seven", 70, letters, 3)
    assert len(lines) == 3
    assert lines[0] == "one two"
    assert all(letters.getlength(line) <= 70 for line in lines)
    assert wrapped("", 70, letters, 2) == [""]


def test_wordnet_numbers_are_cut_before_names():
    letters = font(12)
    width = letters.getlength("like english_springer")
    assert fitted("like n02102040_english_springer", width, letters) == "like english_springer"
    assert fitted("n02102040_english_springer", 1000, letters) == "english_springer"
    # Paths keep their WordNet numbers.
    assert fitted("n02102040_english_springer/1.png", 1000, letters, keep_end=True).startswith("n02102040_english")
    assert fitted("n02102040_english_springer/1.png", width, letters, keep_end=True).endswith("springer/1.png")
