from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images import formats
from lookalike_indexer.images.decode import ImageLimits, decode

_OLD_AVIF = b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf" + bytes(100)


def halves() -> Image.Image:
    """Left half red, right half blue: 64 x 32."""
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 32))
    return image


def check(data: bytes, name: str, upright: bool = True) -> None:
    decoded = decode(data, ImageLimits())
    assert decoded.format == name
    assert (decoded.width, decoded.height) == ((64, 32) if upright else (32, 64))
    pixels = np.asarray(decoded.image).astype(int)
    first, last = (pixels[16, 8], pixels[16, 56]) if upright else (pixels[8, 16], pixels[56, 16])
    assert np.abs(first - [255, 0, 0]).max() <= 12
    assert np.abs(last - [0, 0, 255]).max() <= 12


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_reads_avif_upright(encode):
    check(encode(halves(), "AVIF", quality=95), "AVIF")
    turned = Image.Exif()
    turned[0x0112] = 6
    check(encode(halves(), "AVIF", quality=95, exif=turned), "AVIF", upright=False)


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow was built without JPEG 2000")
@pytest.mark.parametrize("bare", [False, True])
def test_reads_jpeg_2000(encode, bare: bool):
    check(encode(halves(), "JPEG2000", no_jp2=bare), "JPEG2000")


def test_reads_heic_upright(encode):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    pillow_heif.register_heif_opener()
    check(encode(halves(), "HEIF", quality=95), "HEIF")
    turned, exif = halves(), Image.Exif()
    exif[0x0112] = 6
    turned.info["exif"] = exif.tobytes()
    data = encode(turned, "HEIF", quality=95)
    assert b"irot" in data  # this format stores rotation outside of EXIF
    check(data, "HEIF", upright=False)
    with pytest.raises(DecodeError, match=r"64 x 32 pixels, more than the 2,047") as caught:
        decode(encode(halves(), "HEIF"), ImageLimits(max_pixels=2047))
    assert caught.value.kind == "limit"


def test_missing_decoder_is_named_with_its_install_command(monkeypatch: pytest.MonkeyPatch):
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(formats, "_has_heic", formats._has_heic.__wrapped__)
    with pytest.raises(DecodeError, match=r"pip install 'lookalike\[heic\]'") as caught:
        decode(heic, ImageLimits())
    assert caught.value.kind == "unreadable"
    monkeypatch.setattr(formats.features, "check", lambda feature: False)
    monkeypatch.setattr(formats, "_of_pillow", formats._of_pillow.__wrapped__)
    with pytest.raises(DecodeError, match=r"reading AVIF needs Pillow 11\.3"):
        decode(_OLD_AVIF, ImageLimits())
    with pytest.raises(DecodeError, match="built without JPEG 2000"):
        decode(b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(50), ImageLimits())


def test_first_image_of_an_mpo_is_read(encode, tmp_path: Path):
    other = Image.new("RGB", (64, 32), (0, 255, 0))
    check(encode(halves(), "MPO", save_all=True, append_images=[other], quality=95), "JPEG")
