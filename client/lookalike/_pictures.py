"""The bytes of a picture, however it is given: by path, bytes, file object, array of pixels or Pillow image."""

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
    """An encoded picture file.

    Of a file object it is the whole file, where that can be moved in, else what is
    left to read. Arrays are those of `_png.encode`. A Pillow image is the file that
    it was opened from, or is encoded without loss, its orientation included.
    InvalidArgumentError: a file that is missing, unreadable or empty; anything
    else than a picture.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        data = bytes(picture)
        source = "The picture"
    elif isinstance(picture, (str, os.PathLike)):
        data = _read(picture)
        source = f"The picture {os.fspath(picture)!r}"
    elif isinstance(picture, np.ndarray):
        return _png.encode(picture)
    elif _pillow.is_pillow_image(picture):
        return _pillow.file_bytes(picture)
    elif callable(getattr(picture, "read", None)):
        data = _read_open(picture)
        source = f"The picture file {picture!r}"
    else:
        raise InvalidArgumentError(
            "A picture must be a path, the bytes of a file, a file object, an array of pixels or a Pillow image, "
            f"not a {type(picture).__name__}."
        )
    if not data:
        raise InvalidArgumentError(f"{source} is empty: it has 0 bytes.")
    return data


def takes_long(query: Mapping[str, Any]) -> bool:
    """Whether the arguments of a query have pictures that are to be read or encoded: not for an event loop."""
    image, images = query.get("image"), query.get("images")
    # What is iterated over may read files by itself.
    return images is not None or not (image is None or isinstance(image, bytes))


def is_single(pictures: object) -> bool:
    """Whether it is one picture though it can be iterated over: by lines of a file, or rows of pixels."""
    if isinstance(pictures, np.ndarray) and pictures.dtype != object:
        # Of three dimensions it may be several gray pictures, but not with a handful of columns.
        return pictures.ndim < 3 or (pictures.ndim == 3 and pictures.shape[2] <= 4)
    return callable(getattr(pictures, "read", None))


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InvalidArgumentError(f"There is no picture file {os.fspath(path)!r}.") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise InvalidArgumentError(f"The picture {os.fspath(path)!r} cannot be read: {reason}.") from error


def _read_open(file: Any) -> bytes:
    """All bytes of an open file, which stays at its place: one that was just written is at its end."""
    if isinstance(file, io.TextIOBase):
        raise InvalidArgumentError(f"The picture file {file!r} is open as text; open it in binary mode, 'rb'.")
    try:
        if not _can_move(file):
            data = file.read()
        else:
            place = file.tell()
            file.seek(0)
            data = file.read()
            file.seek(place)
    except (OSError, ValueError) as error:  # ValueError: a closed file
        raise InvalidArgumentError(f"The picture file {file!r} cannot be read: {error}.") from error
    if not isinstance(data, (bytes, bytearray)):
        raise InvalidArgumentError(f"The picture file {file!r} gives {type(data).__name__} where bytes were expected.")
    return bytes(data)


def _can_move(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if callable(seekable) else False
