"""Conversion of Pillow's pixel modes to 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lookalike_indexer.images.levels import USUAL, to_8_bit

# TIFF tags, and the sample size from which BitsPerSample does not show how many bits are used.
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281
_CONTAINER_BITS = 16


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert a loaded image to mode RGB.

    Transparency shows white. Gray levels of more than 8 bits and floating-point levels become 8 bits by the rule of
    `levels.to_8_bit`; Pillow would clip them.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(to_8_bit(np.asarray(picture), declared_level(picture))).convert("RGB")
    if picture.has_transparency_data:
        front = picture.convert("RGBA")
        behind = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(behind, front).convert("RGB")
    # Copy it, so that the image's file can be closed.
    return picture.convert("RGB") if picture.mode != "RGB" else picture.copy()


def declared_level(picture: Image.Image) -> int:
    """Return the maximum level that an image's file declares, 0 if there is none.

    A TIFF declares it by BitsPerSample below 16, or by MaxSampleValue: the usual range that contains that value. Sizes
    of 16 bits and more are containers, which also hold 12-bit images. PNG's sBIT is not used: writers have to scale the
    samples to all bits of the file.
    """
    tags = getattr(picture, "tag_v2", {})
    most = _first(tags.get(_MAX_SAMPLE_VALUE))
    if most > 0:
        return next((level for level in USUAL if most <= level), 0)
    bits = _first(tags.get(_BITS_PER_SAMPLE))
    return (1 << bits) - 1 if 8 < bits < _CONTAINER_BITS else 0


def _first(value: object) -> int:
    """Return the first number of a tag, which may contain anything in a damaged file."""
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else 0
