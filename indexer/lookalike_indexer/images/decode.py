"""Decoder of one image to upright RGB.

Decoders process untrusted bytes, so every exception becomes a DecodeError with a reason of one line.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images import deep_color
from lookalike_indexer.images.formats import NAMES, formats_for
from lookalike_indexer.images.rgb import declared_level, to_rgb

_ORIENTATION = 0x0112
# The transposition that makes an image with each EXIF orientation upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Decoded:
    """A decoded image in RGB, upright; `format` is Pillow's name, `width` and `height` are in pixels, upright."""

    image: Image.Image
    format: str
    width: int
    height: int


def decode(data: bytes, limits: ImageLimits) -> Decoded:
    """Decode an image in one of `formats.FORMATS`; the first of several frames.

    Raise DecodeError for another format, damaged or truncated data, or an image beyond the limits, which its header
    shows before pixels are decoded.
    """
    if len(data) > limits.max_bytes:
        raise DecodeError(
            f"the file has {len(data):,} bytes, more than the {limits.max_bytes:,} that are allowed", kind="limit"
        )
    # Pillow has its own limit for the whole process; the size of each image is checked below.
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limits.max_pixels)
    try:
        # Pillow warns of anomalies that it can handle, and of sizes that are checked here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, limits)
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        raise DecodeError(f"not a {NAMES} image, or its beginning is damaged") from error
    except Image.DecompressionBombError as error:
        raise DecodeError(
            f"the image has more than the {limits.max_pixels:,} pixels that are allowed", kind="limit"
        ) from error
    except MemoryError as error:
        raise DecodeError("decoding needs more memory than there is", kind="limit") from error
    except Exception as error:  # decoders raise almost any exception on damaged data
        raise DecodeError(one_line(error)) from error


def plain_jpeg_size(data: bytes, limits: ImageLimits) -> tuple[int, int] | None:
    """Return the size of a JPEG that all decoders read alike (complete, gray or YCbCr, upright, within limits), else
    None.
    """
    if not data.startswith(b"\xff\xd8") or not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
                # In Adobe JPEGs, 0 means that the planes are red, green and blue.
                plain = picture.mode == "L" or (picture.mode == "RGB" and picture.info.get("adobe_transform") != 0)
                upright = _orientation(picture) not in _UPRIGHT
                width, height = picture.size
    except Exception:  # the next decoder reports the problem
        return None
    return (width, height) if plain and upright and width * height <= limits.max_pixels else None


def _decode(data: bytes, limits: ImageLimits) -> Decoded:
    with Image.open(io.BytesIO(data), formats=formats_for(data)) as picture:
        # Pillow opens a JPEG with a second image inside as MPO.
        name = "JPEG" if picture.format == "MPO" else picture.format or ""
        width, height = picture.size
        if width * height > limits.max_pixels:
            raise DecodeError(
                f"the image has {width} x {height} pixels, more than the {limits.max_pixels:,} that are allowed",
                kind="limit",
            )
        deep = deep_color.raw_mode(picture)
        picture.load()
        turn = _UPRIGHT.get(_orientation(picture))
        if deep and deep_color.is_dark(picture):
            image = deep_color.to_rgb(deep_color.samples(data, picture, deep), declared_level(picture))
        else:
            image = to_rgb(picture)
    if turn is not None:
        image = image.transpose(turn)
    return Decoded(image, name, image.width, image.height)


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation after loading (TIFF images are upright by then), 1 if it cannot be read."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data in a valid image may raise any exception
        return 1
    return value if isinstance(value, int) else 1


def one_line(error: BaseException) -> str:
    """Return an exception as one line of text, never empty."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300]
