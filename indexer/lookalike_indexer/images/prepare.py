"""What a decoding worker does with an image: read, decode, resize, crop; or read and look at, for a GPU to decode."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.decode import decode, plain_jpeg_size
from lookalike_indexer.images.preprocessing import Pixels, can_resize, geometric
from lookalike_indexer.sources.fetch import fetch


@dataclass(frozen=True)
class Prepared:
    """An image as the network takes it, and what its file said.

    `pixels` is uint8 of shape (3, crop, crop); `bytes` the length of the
    encoded picture; `width` and `height` those of the upright picture.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True)
class Encoded:
    """A JPEG that a GPU can decode, as it is in its file; `width` and `height` in pixels."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be had, and why, in a line."""

    reason: str


def prepare_for_gpu(image: str | bytes, spec: PreprocessingSpec, limits: ImageLimits) -> Prepared | Encoded | Rejected:
    """A JPEG whose pixels lie as they should is left encoded; every other image is prepared."""
    try:
        data = fetch(image, limits.max_bytes) if isinstance(image, str) else image
    except DecodeError as error:
        return Rejected(str(error))
    size = plain_jpeg_size(data, limits)
    return Encoded(data, *size) if size and can_resize(*size, spec) else prepare(data, spec, limits)


def prepare(image: str | bytes, spec: PreprocessingSpec, limits: ImageLimits) -> Prepared | Rejected:
    """Prepare an image, given by its URI or as encoded bytes."""
    try:
        data = fetch(image, limits.max_bytes) if isinstance(image, str) else image
        decoded = decode(data, limits)
        pixels = geometric(decoded.image, spec)
    except DecodeError as error:
        return Rejected(str(error))
    except MemoryError:
        return Rejected("decoding needs more memory than there is")
    return Prepared(pixels, decoded.format, decoded.width, decoded.height, len(data))
