"""The bytes of a picture that is given by path, as bytes, or as a Pillow image."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from lookalike._errors import InvalidArgumentError

if TYPE_CHECKING:
    import PIL.Image

Picture: TypeAlias = Union[str, "os.PathLike[str]", bytes, "PIL.Image.Image"]

# The modes that PNG keeps as they are, and those that only TIFF does. What is
# left, such as YCbCr, becomes RGB, as it would wherever it is decoded.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_TIFF_MODES = frozenset({"CMYK", "F", "I", "LAB"})


def picture_bytes(picture: Picture) -> bytes:
    """An encoded picture file. A Pillow image is encoded without loss, its EXIF orientation included.

    InvalidArgumentError: a file that is missing, unreadable or empty; anything else than a picture.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        data = bytes(picture)
        source = "The picture"
    elif isinstance(picture, (str, os.PathLike)):
        data = _read(picture)
        source = f"The picture {os.fspath(picture)!r}"
    elif _is_pillow_image(picture):
        return _encode(picture)
    else:
        raise InvalidArgumentError(
            f"A picture must be a path, the bytes of a file or a Pillow image, not a {type(picture).__name__}."
        )
    if not data:
        raise InvalidArgumentError(f"{source} is empty: it has 0 bytes.")
    return data


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InvalidArgumentError(f"There is no picture file {os.fspath(path)!r}.") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise InvalidArgumentError(f"The picture {os.fspath(path)!r} cannot be read: {reason}.") from error


def _is_pillow_image(picture: object) -> bool:
    # Whoever holds a Pillow image has imported Pillow; the client need not.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(picture, pillow.Image)


def _encode(image: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        exif = image.getexif()
        if image.mode not in _PNG_MODES | _TIFF_MODES:
            image = image.convert("RGB")
        image.save(buffer, format="PNG" if image.mode in _PNG_MODES else "TIFF", exif=exif)
    except (OSError, ValueError, SyntaxError) as error:
        raise InvalidArgumentError(f"The Pillow image {image!r} cannot be encoded: {error}.") from error
    return buffer.getvalue()
