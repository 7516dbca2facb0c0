"""The same image with more than 8 bits, and with floats, looks the same."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, TiffImagePlugin

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.images.decode import decode

LIMITS = ImageLimits()


@pytest.fixture(scope="module")
def gray(photos_dir: Path) -> npt.NDArray[np.uint8]:
    """A real image, its gray levels stretched to 0 to 255, so that each version uses its full range."""
    with Image.open(sorted((photos_dir / "imagenette").rglob("*.JP*G"))[0]) as picture:
        levels = np.asarray(picture.convert("L")).astype(float)
    return np.rint((levels - levels.min()) * 255 / (levels.max() - levels.min())).astype(np.uint8)


def saved(levels: npt.NDArray[np.generic], kind: str, **tags: int) -> bytes:
    out = io.BytesIO()
    info = TiffImagePlugin.ImageFileDirectory_v2()
    if "most" in tags:
        info[281] = tags["most"]
    Image.fromarray(levels).save(out, kind, **({"tiffinfo": info} if kind == "TIFF" else {}))
    return out.getvalue()


def found(data: bytes) -> npt.NDArray[np.int16]:
    return np.asarray(decode(data, LIMITS).image)[:, :, 0].astype(np.int16)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_levels_of_each_depth_in_16_bits_look_as_those_of_8_bits(gray, kind: str, bits: int):
    levels = np.rint(gray * (((1 << bits) - 1) / 255)).astype(np.uint16)
    assert np.abs(found(saved(levels, kind)) - gray).max() <= 1


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("most", [255, 1023, 4095, 16383, 65535])
def test_integers_and_floats_of_32_bits_follow_the_same_rule(gray, dtype: type, most: int):
    assert np.abs(found(saved(np.rint(gray * (most / 255)).astype(dtype), "TIFF")) - gray).max() <= 1


def test_fractions_and_masks_are_from_0_to_1(gray):
    assert np.abs(found(saved((gray / 255).astype(np.float32), "TIFF")) - gray).max() <= 1
    mask = (gray > 100).astype(np.int32)
    assert np.array_equal(found(saved(mask, "TIFF")), mask * 255)


def test_dark_image_stays_dark_if_the_file_states_its_range(gray):
    dark = (gray // 16).astype(np.uint16)  # 0 to 15, of 4095
    assert found(saved(dark, "TIFF", most=4095)).max() == 1
    assert found(saved(dark * 64, "TIFF", most=4000)).max() == round(15 * 64 * 255 / 4095)
    # False metadata is ignored.
    assert np.abs(found(saved(np.rint(gray * (4095 / 255)).astype(np.uint16), "TIFF", most=1000)) - gray).max() <= 1


def test_samples_of_12_bits_range_up_to_4095():
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    packed = (0x010 << 12 | 0x100).to_bytes(3, "big")  # two samples: 16 and 256
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + packed
    assert found(data).tolist() == [[1, 16]]


def test_other_levels_are_stretched_from_the_lowest_to_the_highest(gray):
    for levels in (gray.astype(np.int32) - 40, gray.astype(np.int32) * 100_000, gray.astype(np.float32) * 1e9):
        assert np.abs(found(saved(levels, "TIFF")) - gray).max() <= 1
