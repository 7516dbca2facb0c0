"""Generated images, used without a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_FILES_IN_A_FOLDER = 500
_DIFFERENT = 256


def like_photographs(folder: Path, images: int, seed: int) -> None:
    """Write JPEGs of 500 x 375 pixels with soft shapes and grain, about as large as photographs of that size.

    After 256 images they repeat as hard links: decoding an image again takes as long.
    """
    generator = np.random.default_rng(seed)
    for number in range(images):
        if number >= _DIFFERENT:
            _path(folder, number).hardlink_to(_path(folder, number % _DIFFERENT))
            continue
        shapes = Image.fromarray(generator.integers(0, 256, (15, 20, 3), np.uint8)).resize((500, 375))
        grain = generator.standard_normal((375, 500, 1), np.float32) * 6
        pixels = np.clip(np.asarray(shapes, np.float32) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(_path(folder, number), quality=90)


def small(folder: Path, images: int, seed: int) -> None:
    """Write JPEGs of 64 x 48 pixels that all differ, since hard links would share the page cache."""
    generator = np.random.default_rng(seed)
    for number in range(images):
        shapes = Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8))
        shapes.resize((64, 48)).save(_path(folder, number), quality=80)


def _path(folder: Path, number: int) -> Path:
    path = folder / f"folder-{number // _FILES_IN_A_FOLDER:04d}" / f"picture-{number:07d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
