"""A Pillow image as a file: the bytes that it was opened from, as long as it is what they are; else encoded."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

from lookalike._errors import InvalidArgumentError

# The modes that PNG keeps as they are, and those that only TIFF does. What is
# left, such as YCbCr, becomes RGB, as it would wherever it is decoded.
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_TIFF_MODES: Final = frozenset({"CMYK", "F", "I", "LAB"})

# The formats of which a server reads the file itself, as Pillow names them.
_SENT: Final = frozenset({"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"})

# The tag of EXIF that says how a picture is to be turned.
_ORIENTATION: Final = 0x0112


def is_pillow_image(picture: object) -> bool:
    """Whether it is an image of Pillow, without importing that."""
    # Whoever holds a Pillow image has imported Pillow; the client need not.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(picture, pillow.Image)


def file_bytes(image: Any) -> bytes:
    """The bytes of a file that is the image, its orientation included.

    An image that was opened from a file, and not changed since, is sent as that
    file. Any other one is encoded without loss. InvalidArgumentError: it cannot be.
    """
    try:
        return _own_file(image) or _encoded(image)
    except (OSError, ValueError, SyntaxError, AssertionError, AttributeError) as error:  # the last two: a closed image
        raise InvalidArgumentError(f"The Pillow image {image!r} cannot be encoded: {error}.") from error


def _own_file(image: Any) -> bytes | None:
    """The bytes that the image was opened from; None where they are gone, or are not the image any more."""
    # Copies, crops and conversions are plain images; only what was opened is of another class.
    if getattr(image, "format", None) not in _SENT or not hasattr(image, "tile") or image.tell() != 0:
        return None
    data = _source(image)
    return data if data and _is_unchanged(image, data) else None


def _source(image: Any) -> bytes | None:
    """All bytes of the file behind an image: of the one that is open, else of the path; None where there is neither."""
    file = getattr(image, "fp", None)
    if file is None and image.tile:
        return None  # closed before it was decoded
    try:
        if file is None:
            path = image.filename
            # A pipe gives its bytes once, and waits for more.
            return Path(os.fsdecode(path)).read_bytes() if path and stat.S_ISREG(Path(path).stat().st_mode) else None
        place = file.tell()
        try:
            file.seek(0)
            return bytes(file.read())
        finally:
            file.seek(place)
    except (OSError, ValueError, AttributeError):  # closed, gone, or not to be moved in
        return None


def _is_unchanged(image: Any, data: bytes) -> bool:
    """Whether the image is what Pillow makes of the bytes: by what is to be decoded, or by the pixels."""
    from PIL import Image  # whoever holds an image has it

    try:
        with Image.open(io.BytesIO(data), formats=[image.format]) as fresh:
            if type(fresh) is not type(image) or (fresh.size, fresh.mode) != (image.size, image.mode):
                return False
            if _orientation(fresh) != _orientation(image):
                return False
            if image.tile:
                # Nothing of it was decoded yet, so that nobody can have drawn on it.
                return bool(_to_decode(fresh) == _to_decode(image))
            return bool(_looks(fresh) == _looks(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return False  # the last where the caller made errors of warnings


def _orientation(image: Any) -> object:
    return image.getexif().get(_ORIENTATION, 1)


def _to_decode(image: Any) -> tuple[object, ...]:
    """All that decides how an image will look once it is decoded."""
    return image.tile, image.decoderconfig, image.info.get("transparency")


def _looks(image: Any) -> tuple[object, ...]:
    """All that decides how an image looks."""
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
