"""PNG encoder for arrays of pixels with numpy and zlib, so that the client needs no image library."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lookalike._errors import InvalidArgumentError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# PNG's color types by the number of channels: gray, gray with alpha, RGB, RGBA.
_COLOR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
_DEPTHS: Final = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}
# PNG allows sides of 31 bits; no server accepts images of this size.
_LONGEST_SIDE: Final = 1 << 20
_SUB: Final = 1
# The fastest level, since the bytes are sent only once.
_LEVEL: Final = 1


def encode(pixels: npt.NDArray[Any]) -> bytes:
    """Encode pixels of shape (height, width) or (height, width, channels), uint8 or uint16, as a PNG file.

    1 to 4 channels are gray, gray with alpha, RGB and RGBA. InvalidArgumentError: an array of another shape or dtype.
    """
    array = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    if array.ndim != 3 or array.shape[2] not in _COLOR_TYPES:
        raise InvalidArgumentError(
            f"Invalid image shape {pixels.shape}: it must be (height, width), or (height, width, channels) "
            "with 1 to 4 channels."
        )
    depth = _DEPTHS.get(array.dtype.newbyteorder("="))
    if depth is None:
        raise InvalidArgumentError(
            f"Invalid image dtype {pixels.dtype}: it must be uint8, or uint16 for 16 bits, from black to white."
        )
    height, width, channels = array.shape
    if not (0 < height <= _LONGEST_SIDE and 0 < width <= _LONGEST_SIDE):
        raise InvalidArgumentError(f"An image of {width} x {height} pixels cannot be sent.")
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(_rows(array), _LEVEL)
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _rows(array: npt.NDArray[Any]) -> bytes:
    """Return the filtered rows: big-endian differences from the left neighbor, after a byte with the filter type.

    PNG calls this filter Sub. It makes photographs smaller.
    """
    big_endian = np.ascontiguousarray(array, array.dtype.newbyteorder(">"))
    rows = big_endian.reshape(len(array), -1).view(np.uint8)
    pixel = array.shape[2] * array.dtype.itemsize
    filtered = np.full((len(rows), 1 + rows.shape[1]), _SUB, np.uint8)
    filtered[:, 1 : 1 + pixel] = rows[:, :pixel]
    np.subtract(rows[:, pixel:], rows[:, :-pixel], out=filtered[:, 1 + pixel :])
    return filtered.tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
