"""Work of a decoding worker: read, decode, resize and crop; or read and inspect, if a GPU decodes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError, DecodeErrorKind
from lookalike_indexer.images.decode import decode, plain_jpeg_size
from lookalike_indexer.images.image_box import Boxed
from lookalike_indexer.images.preprocessing import Pixels, can_resize, geometric
from lookalike_indexer.sources.fetch import fetch


@dataclass(frozen=True)
class Prepared:
    """An image in the form that the network takes, and the properties of its file.

    `pixels` is uint8 of shape (3, crop, crop); `bytes` is the length of the encoded image and `sha256` its digest;
    `width` and `height` are those of the upright image.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Encoded:
    """A JPEG that a GPU can decode, as encoded in its file; `width` and `height` in pixels."""

    data: bytes
    width: int
    height: int
    sha256: str = ""


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be decoded, with the reason as one line; `kind` is that of a DecodeError."""

    reason: str
    kind: DecodeErrorKind = "damaged"


@dataclass(frozen=True)
class Expected:
    """An image, given by its URI or as encoded bytes, with its expected SHA-256."""

    image: str | bytes
    sha256: str


# An image to prepare: its URI, its encoded bytes, either with a digest, or a region of an image. A Rejected is returned
# unchanged.
ImageRequest = str | bytes | Expected | Boxed | Rejected


def prepare_for_gpu(image: ImageRequest, spec: PreprocessingSpec, limits: ImageLimits) -> Prepared | Encoded | Rejected:
    """Leave a JPEG encoded if a GPU can decode it; prepare every other image."""
    if isinstance(image, Rejected):
        return image
    if isinstance(image, Boxed):
        return prepare(image, spec, limits)
    try:
        data, sha256 = _read(image, limits)
    except DecodeError as error:
        return Rejected(str(error), error.kind)
    size = plain_jpeg_size(data, limits)
    return Encoded(data, *size, sha256) if size and can_resize(*size, spec) else prepare(data, spec, limits)


def prepare(image: ImageRequest, spec: PreprocessingSpec, limits: ImageLimits) -> Prepared | Rejected:
    """Prepare an image; an unexpected digest rejects it as changed."""
    if isinstance(image, Rejected):
        return image
    try:
        data, sha256 = _read(image.image if isinstance(image, Boxed) else image, limits)
        decoded = decode(data, limits)
        whole = decoded.image
        pixels = geometric(_cut(whole, image.box) if isinstance(image, Boxed) else whole, spec)
    except DecodeError as error:
        return Rejected(str(error), error.kind)
    except MemoryError:
        return Rejected("decoding needs more memory than there is", "limit")
    return Prepared(pixels, decoded.format, decoded.width, decoded.height, len(data), sha256)


def _read(image: str | bytes | Expected, limits: ImageLimits) -> tuple[bytes, str]:
    """Return the encoded bytes of an image and their SHA-256.

    Raise DecodeError if the digest is not the expected one.
    """
    given, wanted = (image.image, image.sha256) if isinstance(image, Expected) else (image, "")
    data = fetch(given, limits.max_bytes) if isinstance(given, str) else given
    sha256 = hashlib.sha256(data).hexdigest()
    if wanted and sha256 != wanted:
        raise DecodeError(
            f"the file has changed: its SHA-256 begins with {sha256[:16]}, and {wanted[:16]} was embedded before",
            kind="changed",
        )
    return data, sha256


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a region of an image. Raise DecodeError if it is not within the image."""
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > image.width or top + height > image.height:
        raise DecodeError(
            f"the box {left},{top},{width},{height} is not within the image of {image.width} x {image.height} pixels"
        )
    return image.crop((left, top, left + width, top + height))
