"""What a decoding worker does with an image: read, decode, resize, crop; or read and look at, for a GPU to decode."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DecodeError, DecodeErrorKind
from lookalike_indexer.images.decode import decode, plain_jpeg_size
from lookalike_indexer.images.picture_box import Boxed
from lookalike_indexer.images.preprocessing import Pixels, can_resize, geometric
from lookalike_indexer.sources.fetch import fetch


@dataclass(frozen=True)
class Prepared:
    """An image as the network takes it, and what its file said.

    `pixels` is uint8 of shape (3, crop, crop); `bytes` the length of the
    encoded picture and `sha256` its digest; `width` and `height` those of the
    upright picture.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Encoded:
    """A JPEG that a GPU can decode, as it is in its file; `width` and `height` in pixels."""

    data: bytes
    width: int
    height: int
    sha256: str = ""


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be had, and why, in a line; `kind` is that of a DecodeError."""

    reason: str
    kind: DecodeErrorKind = "damaged"


@dataclass(frozen=True)
class Expected:
    """An image, given by its URI or as encoded bytes, that must have a certain SHA-256."""

    image: str | bytes
    sha256: str


# An image to prepare: its URI, its encoded bytes, either with a digest, or a part of a picture; one that is rejected
# already stays so.
ImageRequest = str | bytes | Expected | Boxed | Rejected


def prepare_for_gpu(image: ImageRequest, spec: PreprocessingSpec, limits: ImageLimits) -> Prepared | Encoded | Rejected:
    """A JPEG whose pixels lie as they should is left encoded; every other image is prepared."""
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
    """Prepare an image; one that has another digest than is expected is rejected as changed."""
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
    """The encoded bytes of an image and their SHA-256; DecodeError when they are not those that are expected."""
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
    """A part of a picture; DecodeError when it is not within the picture."""
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > image.width or top + height > image.height:
        raise DecodeError(
            f"the box {left},{top},{width},{height} is not within the picture of {image.width} x {image.height} pixels"
        )
    return image.crop((left, top, left + width, top + height))
