"""A box of an image is prepared exactly as an image of the box alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lookalike_indexer.collection.limits import DEFAULT_LIMITS
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.images.image_box import Boxed
from lookalike_indexer.images.prepare import Prepared, Rejected, prepare, prepare_for_gpu

SPEC = PreprocessingSpec(24, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear", True)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def png(pixels, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", exif=exif)
    return data.getvalue()


def pixels(image):
    found = prepare(image, SPEC, DEFAULT_LIMITS)
    assert isinstance(found, Prepared)
    return found.pixels


def test_box_is_what_its_part_would_be_alone():
    boxed = Boxed(png(NOISE), (10, 5, 40, 30))
    assert np.array_equal(pixels(boxed), pixels(png(np.ascontiguousarray(NOISE[5:35, 10:50]))))
    assert np.array_equal(prepare_for_gpu(boxed, SPEC, DEFAULT_LIMITS).pixels, pixels(boxed))
    assert np.array_equal(pixels(Boxed(png(NOISE), (0, 0, 60, 40))), pixels(png(NOISE)))
    assert len(boxed) == len(png(NOISE))


def test_box_is_of_the_upright_image():
    turned = np.ascontiguousarray(np.rot90(NOISE))
    # Orientation 6: the stored image is rotated clockwise to be upright.
    assert np.array_equal(
        pixels(Boxed(png(turned, 6), (10, 5, 40, 30))), pixels(png(np.ascontiguousarray(NOISE[5:35, 10:50])))
    )


@pytest.mark.parametrize(
    "box", [(0, 0, 61, 40), (21, 0, 40, 40), (0, 40, 1, 1), (-1, 0, 5, 5), (0, 0, 0, 5), (2**31 - 1,) * 4]
)
def test_box_outside_of_the_image_is_reported(box):
    found = prepare(Boxed(png(NOISE), box), SPEC, DEFAULT_LIMITS)
    assert isinstance(found, Rejected)
    assert found.reason.endswith("is not within the image of 60 x 40 pixels")
