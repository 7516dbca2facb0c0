"""Cost of sending a Pillow image for a client: as its file, and encoded.

    python -m lookalike_benchmarks.sent_images

The 12-megapixel image is generated, so that every machine can run this.
Times are processor times, the best of three.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lookalike._images import picture_bytes

_SIZE = (4000, 3000)


def photograph() -> bytes:
    """Generate a JPEG with large shapes, edges and grain."""
    random = np.random.default_rng(0)
    shapes = Image.fromarray(random.integers(0, 256, (375, 500, 3), np.uint8)).resize(_SIZE, Image.Resampling.BICUBIC)
    grain = random.normal(0, 6, (_SIZE[1], _SIZE[0], 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(shapes) + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def cost(what: str, work: Callable[[], bytes]) -> None:
    """Print the processor time and the number of bytes."""
    best, sent = float("inf"), 0
    for _ in range(3):
        began = time.process_time()
        sent = len(work())
        best = min(best, time.process_time() - began)
    print(f"{what:32} {best * 1000:8.1f} ms {sent / 1e6:6.1f} MB")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        path.write_bytes(photograph())
        cost("opened, not decoded", lambda: picture_bytes(Image.open(path)))
        with Image.open(path) as image:
            image.load()
            cost("decoded, and compared", lambda: picture_bytes(image))
            changed = image.copy()
    cost("changed, encoded as PNG", lambda: picture_bytes(changed))
    pixels = np.asarray(changed)
    cost("an array, encoded as PNG", lambda: picture_bytes(pixels))


if __name__ == "__main__":
    main()
