"""Supported image formats, and the packages that some of them need."""

from __future__ import annotations

import functools

from PIL import Image, features

from lookalike_indexer.errors import DecodeError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "HEIF")
NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or HEIC"
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_AVIF = frozenset({b"avif", b"avis"})


def formats_for(data: bytes) -> tuple[str, ...]:
    """Return the formats to try on encoded bytes, by Pillow's names.

    DecodeError of the kind "unreadable": the format needs a package that is not installed; the message names it.
    """
    brands = _brands(data)
    if brands & _HEIC and not _has_heic():
        raise DecodeError("reading HEIC needs pillow-heif: pip install 'lookalike[heic]'", kind="unreadable")
    if brands & _AVIF and "AVIF" not in _of_pillow():
        raise DecodeError("reading AVIF needs Pillow 11.3: pip install --upgrade pillow", kind="unreadable")
    if data[4:8] == b"jP  " and "JPEG2000" not in _of_pillow():
        raise DecodeError("this Pillow was built without JPEG 2000: pip install --upgrade pillow", kind="unreadable")
    return (*_of_pillow(), "HEIF") if brands & _HEIC else _of_pillow()


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO media file such as HEIC and AVIF; empty for every other file."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


@functools.cache
def _of_pillow() -> tuple[str, ...]:
    Image.init()
    missing = {"AVIF": "avif", "JPEG2000": "jpg_2000"}
    return tuple(
        name
        for name in FORMATS
        if name in Image.OPEN and name != "HEIF" and (name not in missing or features.check(missing[name]))
    )


@functools.cache
def _has_heic() -> bool:
    # Import it for the first HEIC image: most collections have none.
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True
