"""Any of Pillow's pixel modes to 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_16_BIT = 65535


def to_rgb(picture: Image.Image) -> Image.Image:
    """A loaded picture as mode RGB.

    Transparency shows white behind it. Gray levels of 16 bits are scaled to 8,
    where Pillow would clip them; 32-bit and floating-point levels by their
    range (see `_levels`).
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_levels(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        front = picture.convert("RGBA")
        behind = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(behind, front).convert("RGB")
    # A copy, so that the picture's file can be closed.
    return picture.convert("RGB") if picture.mode != "RGB" else picture.copy()


def _levels(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Gray levels as 8 bits.

    Integers within 0..65535 are taken for 16 bits, floats within 0..1 for
    fractions and floats within 0..255 for 8 bits; everything else is stretched
    from its lowest to its highest value. NaN is black.
    """
    if values.dtype == np.bool_ or values.size == 0:
        return (values * 255).astype(np.uint8)
    levels = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=None, neginf=None)
    low, high = float(levels.min()), float(levels.max())
    if np.issubdtype(values.dtype, np.integer):
        known = [_16_BIT] if low >= 0 and high <= _16_BIT else []
    else:
        known = [limit for limit in (1, 255) if low >= 0 and high <= limit]
    if known:
        levels *= 255.0 / known[0]
    else:
        levels = (levels / 2 - low / 2) / max(high / 2 - low / 2, 1e-300) * 255.0
    return np.rint(levels).astype(np.uint8)
