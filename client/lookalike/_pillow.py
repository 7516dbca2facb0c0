"""Pillow images as files: the file that an unchanged image was opened from, or a lossless encoding."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

from lookalike._errors import InvalidArgumentError

# Modes that PNG stores unchanged, and those that only TIFF does. Others, such as YCbCr, are converted to RGB, as
# every decoder would.
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_TIFF_MODES: Final = frozenset({"CMYK", "F", "I", "LAB"})

# Formats whose files a server accepts, by Pillow's names.
_SENT: Final = frozenset({"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"})

# The EXIF tag of the orientation.
_ORIENTATION: Final = 0x0112


def is_pillow_image(picture: object) -> bool:
    """Return True for a Pillow image, without importing Pillow."""
    # A caller with a Pillow image has imported Pillow.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(picture, pillow.Image)


def file_bytes(image: Any) -> bytes:
    """Return the bytes of a file with the image and its orientation.

    An image that is unchanged since it was opened from a file is sent as that
    file. Other images are encoded without loss. InvalidArgumentError: the image cannot be encoded.
    """
    try:
        return _original_file(image) or _encoded(image)
    except (OSError, ValueError, SyntaxError, AssertionError, AttributeError) as error:  # the last two: a closed image
        raise InvalidArgumentError(f"The Pillow image {image!r} cannot be encoded: {error}.") from error


def _original_file(image: Any) -> bytes | None:
    """Return the bytes that the image was opened from; None if they are gone or the image has changed."""
    # Copies, crops and conversions are plain images; only an opened image has the class of its format.
    if getattr(image, "format", None) not in _SENT or not hasattr(image, "tile") or image.tell() != 0:
        return None
    data = _source(image)
    return data if data and _is_unchanged(image, data) else None


def _source(image: Any) -> bytes | None:
    """Read the file behind an image, by its open file or else its path; None if it has neither."""
    file = getattr(image, "fp", None)
    if file is None and image.tile:
        return None  # closed before it was decoded
    try:
        if file is None:
            path = image.filename
            # A pipe delivers its bytes only once, and a read would block.
            return Path(os.fsdecode(path)).read_bytes() if path and stat.S_ISREG(Path(path).stat().st_mode) else None
        place = file.tell()
        try:
            file.seek(0)
            return bytes(file.read())
        finally:
            file.seek(place)
    except (OSError, ValueError, AttributeError):  # closed, gone, or not seekable
        return None


def _is_unchanged(image: Any, data: bytes) -> bool:
    """Return True if decoding the bytes yields the image; compare pixels only if they have been decoded."""
    from PIL import Image  # a caller with an image has it

    try:
        with Image.open(io.BytesIO(data), formats=[image.format]) as fresh:
            if type(fresh) is not type(image) or (fresh.size, fresh.mode) != (image.size, image.mode):
                return False
            if _orientation(fresh) != _orientation(image):
                return False
            if image.tile:
                # Nothing has been decoded yet, so nobody can have drawn on the image.
                return bool(_to_decode(fresh) == _to_decode(image))
            return bool(_pixel_state(fresh) == _pixel_state(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return False  # the last one if the caller turned warnings into errors


def _orientation(image: Any) -> object:
    return image.getexif().get(_ORIENTATION, 1)


def _to_decode(image: Any) -> tuple[object, ...]:
    """Return everything that determines the pixels of an image that has not been decoded."""
    return image.tile, image.decoderconfig, image.info.get("transparency")


def _pixel_state(image: Any) -> tuple[object, ...]:
    """Return everything that determines the pixels of a decoded image."""
    image.load()
    palette = image.getpalette("RGBA") if image.mode in ("P", "PA") else None
    return image.tobytes(), palette, image.info.get("transparency")


def _encoded(image: Any) -> bytes:
    buffer = io.BytesIO()
    exif = image.getexif()
    if image.mode not in _PNG_MODES | _TIFF_MODES:
        image = image.convert("RGB")
    image.save(buffer, format="PNG" if image.mode in _PNG_MODES else "TIFF", exif=exif)
    return buffer.getvalue()
