"""The geometric half of a network's transforms: resize and crop, on 8-bit pixels.

The weights' own transforms resize, crop, scale to 0..1 and normalize. The
first two are done here, in decoding workers, which therefore need no torch and
pass on a quarter of the bytes; the other two on the network's device
(`models/normalise.py`). A test holds the two halves together equal to
torchvision's, bit by bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError

Pixels = npt.NDArray[np.uint8]


# A line of 1 x 100,000 pixels would become a ribbon of 256 x 25,600,000.
_LARGEST_RESIZED = 1 << 26


def geometric(image: Image.Image, spec: PreprocessingSpec) -> Pixels:
    """Resize the shorter side and cut the central square out: uint8, shape (3, crop, crop), RGB planes.

    DecodeError when the picture is so thin that it cannot sensibly be resized.
    """
    width, height = resized(image.width, image.height, spec.resize)
    if not can_resize(image.width, image.height, spec):
        raise DecodeError(f"a picture of {image.width} x {image.height} pixels is too long and thin to be resized")
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling[spec.interpolation.upper()])
    left, top = corner(width, height, spec)
    # Outside of the picture, which a crop larger than the resize reaches, is black.
    square = image.crop((left, top, left + spec.crop, top + spec.crop))
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def can_resize(width: int, height: int, spec: PreprocessingSpec) -> bool:
    """Whether a picture of this size stays within reason when its shorter side is scaled."""
    new_width, new_height = resized(width, height, spec.resize)
    return new_width * new_height <= _LARGEST_RESIZED


def corner(width: int, height: int, spec: PreprocessingSpec) -> tuple[int, int]:
    """Left and top of the central square of a resized picture; negative where the square is larger."""
    return round((width - spec.crop) / 2), round((height - spec.crop) / 2)


def resized(width: int, height: int, shorter: int) -> tuple[int, int]:
    """The size after the shorter side has been scaled to `shorter`; the longer is rounded down."""
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter
