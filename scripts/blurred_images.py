"""Measure the flag "blurry" of `lookalike quality` on images and blurred copies, for the figures in the docs.

python scripts/blurred_images.py FOLDER...     every JPEG below the folders, unchanged and blurred three times
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageFilter

from lookalike_indexer.quality.flags import FLAGS
from lookalike_indexer.quality.measures import measured

# Standard deviations of Gaussian blur, as shares of the shorter side.
BLURS = (0.0, 0.01, 0.015, 0.02)


def main(folders: list[str]) -> None:
    """Print the share of blurry images at each blur."""
    for folder in folders:
        counts, pictures = dict.fromkeys(BLURS, 0), 0
        for path in sorted(Path(folder).rglob("*.[jJ][pP]*")):
            picture = Image.open(path).convert("RGB")
            pictures += 1
            for blur in BLURS:
                radius = blur * min(picture.size)
                shown = picture.filter(ImageFilter.GaussianBlur(radius)) if blur else picture
                counts[blur] += FLAGS["blurry"].holds(measured(shown), *picture.size)
        told = ", ".join(f"{blur:.1%} {count / pictures:.1%}" for blur, count in counts.items())
        print(f"{folder}: {pictures:,} images; blurry at a blur of: {told}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
