"""Geometric half of a network's transforms: resize and crop, on 8-bit pixels.

The weights' own transforms resize, crop, scale to 0..1 and normalize. Decoding workers do the first two, so they need
no torch and send a quarter of the bytes. The network's device does the other two (`models/normalize.py`). A test checks
that both halves together equal torchvision's transforms, bit by bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError

Pixels = npt.NDArray[np.uint8]


# Limits extreme shapes: an image of 1 x 100,000 pixels would be resized to 256 x 25,600,000.
_LARGEST_RESIZED = 1 << 26


def geometric(image: Image.Image, spec: PreprocessingSpec) -> Pixels:
    """Resize the shorter side and crop the central square: uint8, shape (3, crop, crop), RGB planes.

    Raise DecodeError if the image is too thin to be resized.
    """
    width, height = resized(image.width, image.height, spec.resize)
    if not can_resize(image.width, image.height, spec):
        raise DecodeError(f"an image of {image.width} x {image.height} pixels is too long and thin to be resized")
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling[spec.interpolation.upper()])
    left, top = corner(width, height, spec)
    # If the crop exceeds the resized image, the outside is black.
    square = image.crop((left, top, left + spec.crop, top + spec.crop))
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def can_resize(width: int, height: int, spec: PreprocessingSpec) -> bool:
    """Return whether an image of this size stays within the limit when its shorter side is scaled."""
    new_width, new_height = resized(width, height, spec.resize)
    return new_width * new_height <= _LARGEST_RESIZED


def corner(width: int, height: int, spec: PreprocessingSpec) -> tuple[int, int]:
    """Return left and top of the central square of a resized image; negative if the square is larger."""
    return round((width - spec.crop) / 2), round((height - spec.crop) / 2)


def resized(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Return the size after scaling the shorter side to `shorter`; the longer one is rounded down."""
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter
