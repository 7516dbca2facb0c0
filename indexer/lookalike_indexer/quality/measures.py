"""Measures of an image: brightness, contrast, sharpness and perceptual hash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lookalike_indexer.arrays import Float64

# Larger images are reduced to this longer side, so that sharpness is comparable for any resolution.
_SIDE = 320


# The side of the image for the hash, and its lowest frequencies (8, 32).
_HASHED = 32
_COSINES = np.cos(np.pi / _HASHED * np.outer(np.arange(8), np.arange(_HASHED) + 0.5))


@dataclass(frozen=True)
class Measures:
    """Measures of the luma of an image, from 0 (black) to 1 (white); its longer side has at most 320 pixels.

    `brightness` is the mean, `darkest` and `lightest` the 5th and 95th percentile, `contrast` the standard deviation.
    `sharpness` is the 99th percentile of the absolute Laplacian, in units of the contrast; 0 without contrast. `phash`
    is the perceptual hash, 64 bits as a signed integer: which of the 64 lowest frequencies of the cosine transform of
    the image at 32 x 32 pixels are above their median (C. Zauner: Implementation and Benchmarking of Perceptual Image
    Hash Functions, 2010).
    """

    brightness: float
    darkest: float
    lightest: float
    contrast: float
    sharpness: float
    phash: int


def measured(image: Image.Image) -> Measures:
    """Measure an RGB image of any size."""
    luma = _luma(image)
    darkest, lightest = np.percentile(luma, (5, 95)).tolist()
    contrast = float(luma.std())
    edges = float(np.percentile(_laplacian(luma), 99))
    return Measures(
        brightness=float(luma.mean()),
        darkest=darkest,
        lightest=lightest,
        contrast=contrast,
        sharpness=edges / contrast if contrast else 0.0,
        phash=_phash(image),
    )


def _phash(image: Image.Image) -> int:
    small = np.asarray(image.convert("L").resize((_HASHED, _HASHED), Image.Resampling.LANCZOS), np.float64)
    low = (_COSINES @ small @ _COSINES.T).ravel()
    # The first is the brightness of the whole, far above all others.
    bits = np.packbits(low > np.median(low[1:]))
    return int.from_bytes(bits.tobytes(), "big", signed=True)


def _luma(image: Image.Image) -> Float64:
    """Return the luma of ITU-R 601, 0 to 1, of shape (height, width)."""
    scale = _SIDE / max(image.size)
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.BOX)
    return np.asarray(image.convert("L"), np.float64) / 255


def _laplacian(luma: Float64) -> Float64:
    """Return the absolute difference of four times each pixel and its four neighbors; the border is repeated."""
    around = np.pad(luma, 1, mode="edge")
    out: Float64 = np.abs(around[1:-1, :-2] + around[1:-1, 2:] + around[:-2, 1:-1] + around[2:, 1:-1] - 4 * luma)
    return out
