"""What a decoding worker does with an image: read, decode, resize, crop."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError
from lookalike_indexer.images.decode import ImageLimits, decode
from lookalike_indexer.images.preprocessing import Pixels, geometric
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
class Rejected:
    """An image that cannot be had, and why, in a line."""

    reason: str


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
