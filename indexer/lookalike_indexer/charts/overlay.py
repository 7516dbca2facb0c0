"""Attribution drawn over its image."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from lookalike_indexer.images.preprocessing import Pixels

_COLORS = {"cam": "turbo", "gbp": "inferno"}
# The opacity of the image where the attribution is 0; it is gray there, so that color means attribution.
_BACKGROUND = {"cam": 0.75, "gbp": 0.35}
_STRONGEST = {"cam": 0.6, "gbp": 1.0}
# Guided backpropagation has a few very bright pixels that would darken the rest.
_WHITE_POINT = {"cam": 100.0, "gbp": 99.5}


def overlay(pixels: Pixels, attribution: npt.NDArray[np.float32], method: str) -> Image.Image:
    """Draw an attribution (height, width), 0 to 1, of the method "cam" or "gbp" over its image (3, height, width)."""
    picture = pixels.transpose(1, 2, 0).astype(np.float32) / 255
    gray = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    white = float(np.percentile(attribution, _WHITE_POINT[method])) or 1.0
    strength = np.clip(attribution / white, 0, 1)
    colors = matplotlib.colormaps[_COLORS[method]](strength)[..., :3]
    share = (_STRONGEST[method] * np.sqrt(strength))[..., None]
    mixed = share * colors + (1 - share) * (_BACKGROUND[method] * gray)[..., None]
    return Image.fromarray((np.clip(mixed, 0, 1) * 255).round().astype(np.uint8))


def overlay_png(pixels: Pixels, attribution: npt.NDArray[np.float32], method: str) -> bytes:
    """Return the result of `overlay` as a PNG file."""
    out = io.BytesIO()
    overlay(pixels, attribution, method).save(out, "PNG", optimize=True)
    return out.getvalue()
