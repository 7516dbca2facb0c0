"""Bytes of an image that a caller passes as path, bytes, file object, array of pixels or Pillow image."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from lookalike import _pillow, _png
from lookalike._errors import InvalidArgumentError

if TYPE_CHECKING:
    import PIL.Image

Picture: TypeAlias = Union[str, "os.PathLike[str]", bytes, IO[bytes], "npt.NDArray[Any]", "PIL.Image.Image"]


def picture_bytes(picture: Picture) -> bytes:
    """Return the image as an encoded file.

    A seekable file object is read from its beginning, another one from its position.
    Arrays are encoded as by `_png.encode`. A Pillow image yields the file that it was
    opened from, or is encoded without loss, with its orientation.

    InvalidArgumentError: the file is missing, unreadable or empty, or the value is no image.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        data = bytes(picture)
        source = "The image"
    elif isinstance(picture, (str, os.PathLike)):
        data = _read(picture)
        source = f"The image {os.fspath(picture)!r}"
    elif isinstance(picture, np.ndarray):
        return _png.encode(picture)
    elif _pillow.is_pillow_image(picture):
        return _pillow.file_bytes(picture)
    elif callable(getattr(picture, "read", None)):
        data = _read_open(picture)
        source = f"The image file {picture!r}"
    else:
        raise InvalidArgumentError(
            "An image must be a path, the bytes of a file, a file object, an array of pixels or a Pillow image, "
            f"not a {type(picture).__name__}."
        )
    if not data:
        raise InvalidArgumentError(f"{source} is empty: it has 0 bytes.")
    return data


def takes_long(query: Mapping[str, Any]) -> bool:
    """Return True if a query has images to read or encode, which would block an event loop."""
    image, images = query.get("image"), query.get("images")
    # An iterator may read files by itself.
    return images is not None or not (image is None or isinstance(image, bytes))


def is_single(pictures: object) -> bool:
    """Return True for a single image that is iterable: an open file or an array of pixels."""
    if isinstance(pictures, np.ndarray) and pictures.dtype != object:
        # An array of three dimensions may be several gray images, unless the last one can only be channels.
        return pictures.ndim < 3 or (pictures.ndim == 3 and pictures.shape[2] <= 4)
    return callable(getattr(pictures, "read", None))


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InvalidArgumentError(f"There is no image file {os.fspath(path)!r}.") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise InvalidArgumentError(f"The image {os.fspath(path)!r} cannot be read: {reason}.") from error


def _read_open(file: Any) -> bytes:
    """Read an open file from its beginning if possible, and restore its position: a file just written is at its end."""
    if isinstance(file, io.TextIOBase):
        raise InvalidArgumentError(f"The image file {file!r} is open as text; open it in binary mode, 'rb'.")
    try:
        if not _can_move(file):
            data = file.read()
        else:
            place = file.tell()
            file.seek(0)
            data = file.read()
            file.seek(place)
    except (OSError, ValueError) as error:  # ValueError: a closed file
        raise InvalidArgumentError(f"The image file {file!r} cannot be read: {error}.") from error
    if not isinstance(data, (bytes, bytearray)):
        raise InvalidArgumentError(f"The image file {file!r} gives {type(data).__name__} where bytes were expected.")
    return bytes(data)


def _can_move(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if callable(seekable) else False
