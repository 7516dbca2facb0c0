"""Colors of 10 to 16 bits in 16-bit samples look like those of 8 bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.images.decode import decode

Samples = npt.NDArray[np.uint16]

_PNG_COLOR_TYPES = {2: 4, 3: 2, 4: 6}  # gray and alpha, RGB, RGBA


def png(samples: Samples) -> bytes:
    """Return a PNG with 16-bit samples, which Pillow cannot write."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR_TYPES[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(samples: Samples, order: str = "<", compression: int = 1, most: int = 0) -> bytes:
    """Return a TIFF with 16-bit samples; `compression` 1 is none, which Pillow decodes, and 8 needs libtiff."""
    height, width, channels = samples.shape
    data = samples.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compression == 8 else data
    depths = struct.pack(f"{order}{channels}H", *[16] * channels)
    tags = {256: width, 257: height, 259: compression, 262: 2, 277: channels, 278: height, 279: len(data)}
    tags |= {338: 2} if channels == 4 else {}
    tags |= {281: most} if most else {}
    begin = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = {tag: struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items()}
    entries[258] = struct.pack(f"{order}HHII", 258, 3, channels, begin)
    entries[273] = struct.pack(f"{order}HHII", 273, 4, 1, begin + len(depths))
    folder = struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    beginning = b"II*\0" if order == "<" else b"MM\0*"
    return beginning + struct.pack(f"{order}I", 8) + folder + depths + data


FILES: dict[str, Callable[[Samples], bytes]] = {
    "png": png,
    "tiff": tiff,
    "tiff, big-endian": lambda samples: tiff(samples, ">"),
    "tiff, compressed": lambda samples: tiff(samples, "<", 8),
    "tiff, big-endian, compressed": lambda samples: tiff(samples, ">", 8),
}


@pytest.fixture(scope="module")
def colors(photos_dir: Path) -> npt.NDArray[np.uint8]:
    """A real image whose brightest level is 255, so that each version uses its full range."""
    with Image.open(sorted((photos_dir / "imagenette").rglob("*.JP*G"))[0]) as picture:
        levels = np.asarray(picture.convert("RGB")).astype(float)
    return np.rint(levels * 255 / levels.max()).astype(np.uint8)


def scaled(levels: npt.NDArray[np.uint8], bits: int) -> Samples:
    return np.rint(levels * (((1 << bits) - 1) / 255)).astype(np.uint16)


def found(data: bytes) -> npt.NDArray[np.int16]:
    return np.asarray(decode(data, ImageLimits()).image).astype(np.int16)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", FILES)
def test_colors_of_each_depth_look_as_those_of_8_bits(colors, kind: str, bits: int):
    assert np.abs(found(FILES[kind](scaled(colors, bits))) - colors).max() <= 1


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("alpha_bits", [12, 16])
def test_alpha_has_the_range_of_the_colors_or_all_16_bits(colors, kind: str, alpha_bits: int):
    alpha = np.full((*colors.shape[:2], 1), (1 << alpha_bits) - 1, np.uint16)
    alpha[:20] = 0
    levels = found(FILES[kind](np.concatenate([scaled(colors, 12), alpha], axis=2)))
    assert levels[:20].min() == 255  # white shows behind transparency
    assert np.abs(levels[20:] - colors[20:]).max() <= 1


@pytest.mark.parametrize("bits", [12, 16])
def test_gray_with_alpha_follows_the_same_rule(colors, bits: int):
    gray = colors[:, :, :1]
    gray = np.rint(gray * (255 / gray.max())).astype(np.uint8)
    opaque = np.full_like(gray, 255)
    levels = found(png(scaled(np.concatenate([gray, opaque], axis=2), bits)))
    assert np.abs(levels - gray).max() <= 1


def test_dark_image_stays_dark_if_the_file_states_its_range(colors):
    dark = scaled(colors, 12)
    assert found(tiff(dark, most=65535)).max() == 16
    assert found(tiff(dark // 16, most=4095)).max() == 16
