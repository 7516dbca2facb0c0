"""Conversion of levels of any number type to 8 bits, by the range that an image uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Usual maximum levels: fractions and masks, then 8, 10, 12, 14 and 16 bits.
USUAL = (1, 255, 1023, 4095, 16383, 65535)


def to_8_bit(values: npt.NDArray[Any], declared: int = 0) -> npt.NDArray[np.uint8]:
    """Convert levels of any shape and number type to 8 bits, with the same shape.

    The same rule applies to integers and floats. The range is 0 to `declared`, the maximum level that the file
    declares, if no level exceeds it. Otherwise, and for a `declared` of 0, it is 0 to the smallest of `USUAL` that no
    level exceeds. Levels below 0 or beyond `USUAL` have no usual range: they are stretched from the lowest to the
    highest one. NaN is black.

    The rule uses one image only, so that the same file always gives the same pixels. As a consequence, a 16-bit image
    that uses only the lowest levels, and does not declare 16 bits, becomes brighter.
    """
    if values.dtype == np.bool_ or values.size == 0:
        return (values * 255).astype(np.uint8)
    levels = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=None, neginf=None)
    low, high = float(levels.min()), float(levels.max())
    greatest = greatest_level(low, high, declared)
    if greatest:
        levels *= 255.0 / greatest
    else:
        levels = (levels / 2 - low / 2) / max(high / 2 - low / 2, 1e-300) * 255.0
    return np.rint(levels).astype(np.uint8)


def greatest_level(low: float, high: float, declared: int = 0) -> int:
    """Return the level of white, for levels from `low` to `high`; 0 if no usual range contains them."""
    if low < 0:
        return 0
    return declared if declared >= high else next((level for level in USUAL if high <= level), 0)
