from __future__ import annotations

import io

import pytest
from PIL import Image

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.thumbnail import thumbnail


@pytest.mark.parametrize(("size", "expected"), [((400, 200), (160, 80)), ((30, 60), (80, 160)), ((1000, 1), (160, 1))])
def test_longer_side_has_the_size_requested(encode, size: tuple[int, int], expected: tuple[int, int]):
    data = encode(Image.new("RGBA", size, (10, 200, 10, 255)), "PNG")
    with Image.open(io.BytesIO(thumbnail(data, 160, ImageLimits()))) as small:
        assert small.format == "JPEG"
        assert small.size == expected


def test_is_upright(encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.new("RGB", (400, 200)), "JPEG", exif=exif)
    with Image.open(io.BytesIO(thumbnail(data, 100, ImageLimits()))) as small:
        assert small.size == (50, 100)
        assert not small.getexif()


def test_undecodable_image_has_no_thumbnail():
    with pytest.raises(DecodeError):
        thumbnail(b"nothing", 100, ImageLimits())
