"""Fuzz image decoding: bytes are an upright RGB image within the limits, or a DecodeError with a reason."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.decode import decode
from lookalike_indexer.images.prepare import Prepared, prepare
from lookalike_indexer.images.thumbnail import thumbnail

_LIMITS = ImageLimits(max_bytes=1 << 20, max_pixels=1 << 20)
_SPEC = PreprocessingSpec(20, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear", True)


def target(data: bytes) -> None:
    try:
        decoded = decode(data, _LIMITS)
    except DecodeError as error:
        _check(str(error))
        return
    assert decoded.image.mode == "RGB"
    assert 0 < decoded.width * decoded.height <= _LIMITS.max_pixels
    assert decoded.image.size == (decoded.width, decoded.height)
    prepared = prepare(data, _SPEC, _LIMITS)
    if isinstance(prepared, Prepared):
        assert prepared.pixels.shape == (3, 16, 16)
    assert thumbnail(data, 16, _LIMITS).startswith(b"\xff\xd8\xff")


def _check(reason: str) -> None:
    assert reason
    assert "\n" not in reason


def seeds() -> Iterator[bytes]:
    colors = Image.linear_gradient("L").resize((13, 9))
    for kind, modes in {
        "JPEG": ("L", "RGB", "CMYK"),
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "GIF": ("P",),
        "BMP": ("1", "L", "RGB"),
        "TIFF": ("1", "L", "RGB", "CMYK", "I;16", "F"),
        "WEBP": ("RGB", "RGBA"),
    }.items():
        for mode in modes:
            yield _encoded(colors.convert(mode) if mode != "I;16" else Image.new(mode, (13, 9), 40_000), kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield _encoded(colors.convert("RGB"), "JPEG", exif=exif)
    frames = [Image.new("P", (5, 7), level) for level in (1, 2)]
    yield _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield _encoded(colors.convert("RGB"), "TIFF", compression="tiff_lzw")
    yield _encoded(colors.convert("RGB"), "JPEG", progressive=True)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
