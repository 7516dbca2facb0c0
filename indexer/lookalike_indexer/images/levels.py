"""Levels of any number type as 8 bits: which range the levels of a picture fill."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# The greatest levels that pictures usually have: fractions and masks, then 8, 10, 12, 14 and 16 bits.
USUAL = (1, 255, 1023, 4095, 16383, 65535)


def to_8_bit(values: npt.NDArray[Any], declared: int = 0) -> npt.NDArray[np.uint8]:
    """Levels of any shape and number type as 8 bits, of the same shape.

    One rule holds for integers and floats. The levels go from 0 to `declared`,
    the greatest level by what the file says, when none is beyond it. Otherwise,
    and for a `declared` of 0, they go from 0 to the smallest of `USUAL` that
    none is beyond. Levels below 0 or beyond `USUAL` have no usual range: they
    are stretched from the lowest to the highest one. NaN is black.

    The rule looks at one picture only, so that the same file always gives the
    same pixels. Its price: a picture of 16 bits that uses just the lowest
    levels, and does not say that it has 16 bits, becomes brighter.
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
    """The level that stands for white, for levels from `low` to `high`; 0 where no usual range holds them."""
    if low < 0:
        return 0
    return declared if declared >= high else next((level for level in USUAL if high <= level), 0)
