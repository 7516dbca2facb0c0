from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import DecodeError, UsageError
from lookalike_indexer.images.decode import decode

LIMITS = ImageLimits()


def pixels(data: bytes) -> np.ndarray:
    decoded = decode(data, LIMITS)
    assert decoded.image.mode == "RGB"
    assert decoded.image.size == (decoded.width, decoded.height)
    return np.asarray(decoded.image)


def colors() -> Image.Image:
    """Left half red, right half blue: 32 x 16."""
    image = Image.new("RGB", (32, 16), (255, 0, 0))
    image.paste((0, 0, 255), (16, 0, 32, 16))
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_decodes_each_format_to_rgb(encode, kind: str):
    options = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    data = encode(colors(), kind, **options)
    assert decode(data, LIMITS).format == kind
    found = pixels(data).astype(int)
    assert np.abs(found[8, 4] - [255, 0, 0]).max() <= 4
    assert np.abs(found[8, 28] - [0, 0, 255]).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_decodes_gray_bilevel_and_palette(encode, kind: str, mode: str):
    gray = colors().convert("L").point(lambda level: 255 if level > 50 else 0)
    found = pixels(encode(gray.convert(mode), kind))
    assert found[8, 4].tolist() == [255, 255, 255]
    assert found[8, 28].tolist() == [0, 0, 0]


def test_decodes_cmyk(encode):
    found = pixels(encode(colors().convert("CMYK"), "TIFF"))
    assert found[8, 4].tolist() == [255, 0, 0]
    photo_like = pixels(encode(colors().convert("CMYK"), "JPEG", quality=100)).astype(int)
    assert np.abs(photo_like[8, 4] - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_shows_white(encode, kind: str):
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.paste((0, 0, 0, 128), (4, 0, 8, 8))
    found = pixels(encode(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert found[4, 1].tolist() == [255, 255, 255]
    assert found[4, 6].tolist() == [127, 127, 127]


def test_transparent_palette_entry_shows_white(encode):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (4, 0, 8, 8))
    for kind in ("PNG", "GIF"):
        found = pixels(encode(image, kind, transparency=0))
        assert found[4, 1].tolist() == [255, 255, 255]
        assert found[4, 6].tolist() == [200, 100, 50]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_scales_gray_of_16_bits(encode, kind: str):
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    assert pixels(encode(Image.fromarray(levels), kind))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_scales_gray_of_32_bits_and_floats(encode):
    integers = np.array([[-100, 0, 100]], np.int32)
    assert pixels(encode(Image.fromarray(integers), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    for floats, expected in (
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-2.0, np.nan, 2.0], [0, 128, 255]),
        ([7.0, 7.0, 300.0], [2, 2, 75]),
        ([7.0, 7.0, 70000.0], [0, 0, 255]),
        ([np.inf, 0.0, -np.inf], [255, 128, 0]),
    ):
        found = pixels(encode(Image.fromarray(np.array([floats], np.float32)), "TIFF"))[0, :, 0]
        assert found.tolist() == expected, floats


def test_takes_the_first_frame(encode):
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 255, 0))]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert pixels(data)[4, 4].tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_applies_every_orientation(encode, kind: str, orientation: int):
    upright = Image.fromarray(np.kron([[0, 80, 160], [240, 40, 120]], np.ones((16, 16))).astype(np.uint8)).convert(
        "RGB"
    )
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(encode(stored, kind, exif=exif))
    assert found.shape == (32, 48, 3)
    assert np.abs(found.astype(int) - np.asarray(upright)).mean() < 3


def test_real_images_of_each_orientation_are_equal(odd_dir: Path):
    def small(number: int) -> np.ndarray:
        image = decode((odd_dir / "exif-orientation" / f"Landscape_{number}.jpg").read_bytes(), LIMITS).image
        return np.asarray(image.resize((36, 24))).astype(float)

    upright = small(1)
    for number in range(9):
        # The images differ by the number drawn on them.
        assert np.abs(small(number) - upright).mean() < 6, number


def test_damaged_exif_does_not_cost_the_image(encode):
    data = encode(colors(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert pixels(data).shape == (16, 32, 3)


def test_reports_files_that_are_no_images():
    for data in (b"", b"hello", b"\xff\xd8\xff", b"%PDF-1.4"):
        with pytest.raises(DecodeError, match="not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or HEIC image"):
            decode(data, LIMITS)


def test_reads_no_other_format_that_pillow_knows(encode):
    for kind in ("PPM", "ICO", "TGA", "EPS"):
        with pytest.raises(DecodeError, match="not a JPEG"):
            decode(encode(colors(), kind), LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_images_are_rejected_in_one_line(encode, kind: str):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encode(noise, kind)
    with pytest.raises(DecodeError) as caught:
        decode(data[: len(data) // 2], LIMITS)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_size_is_checked_before_pixels_are_decoded():
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(DecodeError, match="more than the 134,217,728"):
        decode(bomb, LIMITS)


def test_limits_are_kept_and_named(encode):
    data = encode(colors(), "PNG")
    with pytest.raises(DecodeError, match="32 x 16 pixels, more than the 511"):
        decode(data, ImageLimits(max_pixels=511))
    assert decode(data, ImageLimits(max_pixels=512)).width == 32
    with pytest.raises(DecodeError, match="more than the 10 that are allowed"):
        decode(data, ImageLimits(max_bytes=10))
    with pytest.raises(UsageError, match="at least one byte"):
        ImageLimits(max_bytes=0)


def test_pillows_warnings_stay_inside(encode):
    # Between Pillow's own limit, where it warns, and ours.
    data = encode(Image.new("1", (10_000, 9_000)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, LIMITS).width == 10_000
