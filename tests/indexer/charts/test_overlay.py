from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lookalike_indexer.charts.overlay import overlay, overlay_png


@pytest.mark.parametrize("method", ["cam", "gbp"])
def test_only_attributed_pixels_are_colored(method: str):
    pixels = np.full((3, 20, 30), 128, np.uint8)
    attribution = np.zeros((20, 30), np.float32)
    attribution[:, 20:] = 1
    drawn = np.asarray(overlay(pixels, attribution, method)).astype(int)
    assert drawn.shape == (20, 30, 3)
    colorful = np.ptp(drawn, axis=2)
    assert colorful[:, :20].max() == 0
    assert colorful[:, 20:].min() > 40


def test_zero_attribution_is_a_gray_image():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    drawn = Image.open(io.BytesIO(overlay_png(pixels, np.zeros((8, 8), np.float32), "gbp")))
    assert drawn.format == "PNG"
    assert drawn.size == (8, 8)
    assert np.ptp(np.asarray(drawn).astype(int), axis=2).max() == 0
