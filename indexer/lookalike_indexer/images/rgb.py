"""Any of Pillow's pixel modes to 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lookalike_indexer.images.levels import USUAL, to_8_bit

# TIFF's tags, and the number of bits beyond which a sample does not say how many of them are used.
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281
_CONTAINER_BITS = 16


def to_rgb(picture: Image.Image) -> Image.Image:
    """A loaded picture as mode RGB.

    Transparency shows white behind it. Gray levels of more than 8 bits and
    floating-point levels become 8 bits by the rule of `levels.to_8_bit`, where
    Pillow would clip them.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(to_8_bit(np.asarray(picture), declared_level(picture))).convert("RGB")
    if picture.has_transparency_data:
        front = picture.convert("RGBA")
        behind = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(behind, front).convert("RGB")
    # A copy, so that the picture's file can be closed.
    return picture.convert("RGB") if picture.mode != "RGB" else picture.copy()


def declared_level(picture: Image.Image) -> int:
    """The greatest level of a picture by what its file says, 0 where it says nothing.

    A TIFF says so by BitsPerSample below 16, or by MaxSampleValue: the usual
    range that holds that value. 16 bits and more are the sizes of containers,
    which pictures of 12 bits are stored in, too. PNG's sBIT says nothing here:
    whoever writes it has to scale the samples to all bits of the file.
    """
    tags = getattr(picture, "tag_v2", {})
    most = _first(tags.get(_MAX_SAMPLE_VALUE))
    if most > 0:
        return next((level for level in USUAL if most <= level), 0)
    bits = _first(tags.get(_BITS_PER_SAMPLE))
    return (1 << bits) - 1 if 8 < bits < _CONTAINER_BITS else 0


def _first(value: object) -> int:
    """The first number of a tag, which a damaged file may have anything in."""
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else 0
