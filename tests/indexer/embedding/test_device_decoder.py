"""JPEGs decoded on a device: here the processor, with the same code as on a GPU."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lookalike_indexer.collection.limits import DEFAULT_LIMITS, ImageLimits
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.embedding import device_decoder
from lookalike_indexer.embedding.device_decoder import DeviceDecoder, OnDevice
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.images.prepare import Encoded, Prepared, Rejected, prepare, prepare_for_gpu
from lookalike_indexer.images.workers import DecodePool, PoolSettings

SPEC = PreprocessingSpec(40, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "bilinear", True)
# Processors give Pillow's pixels; nvJPEG upsamples the chroma differently.
CLOSE = [("cpu", 1.0), pytest.param("cuda:0", 6.0, marks=pytest.mark.gpu)]


def soft(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Return shapes without sharp edges, which suit JPEG."""
    levels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def jpeg(image: Image.Image, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=92, **options)
    return target.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(soft(80, 60), exif=exif)


@pytest.fixture(scope="module")
def pool():
    with DecodePool(PoolSettings(1, leave_jpegs=True, chunk=8), SPEC) as workers:
        yield workers


def decoded(device: str, pool: DecodePool, pictures: list[bytes], batch: int = 4) -> list[object]:
    decoder = DeviceDecoder(device, SPEC, pool, batch)
    results = list(decoder.stream(pool.stream(list(enumerate(pictures)), 16)))
    assert [tag for tag, _ in results] == list(range(len(pictures)))
    return [result for _, result in results]


@pytest.mark.parametrize(("device", "close"), CLOSE)
def test_device_pixels_are_close_to_those_of_the_workers(device: str, close: float, pool: DecodePool) -> None:
    pictures = [
        *(jpeg(soft(90, 70, seed=seed)) for seed in range(5)),
        jpeg(soft(60, 133, seed=7)),
        jpeg(soft(64, 64, "L")),
        jpeg(soft(200, 41), progressive=True),
        jpeg(soft(35, 300), subsampling=0),
    ]
    found = decoded(device, pool, pictures)
    for data, image in zip(pictures, found, strict=True):
        expected = prepare(data, SPEC, DEFAULT_LIMITS)
        assert isinstance(image, OnDevice)
        assert isinstance(expected, Prepared)
        assert str(image.pixels.device) == device
        difference = np.abs(image.pixels.cpu().numpy().astype(int) - expected.pixels)
        assert difference.mean() <= close
        facts = (image.format, image.width, image.height, image.bytes)
        assert facts == (expected.format, expected.width, expected.height, expected.bytes)


@pytest.mark.parametrize(("device", "close"), CLOSE)
def test_images_that_a_device_cannot_decode_are_decoded_by_workers(device: str, close: float, pool: DecodePool) -> None:
    whole = jpeg(soft(90, 70))
    # A valid end marker after garbage.
    damaged = whole[:200] + b"\xff\xc9\x00\x00" + whole[220:240] + b"\xff\xd9"
    pictures = [whole, damaged, b"no picture", whole[: len(whole) // 2], whole]
    found = decoded(device, pool, pictures)
    assert [type(image) for image in found[2:]] == [Rejected, Rejected, OnDevice]
    assert isinstance(found[0], OnDevice)
    assert not isinstance(found[1], Rejected) or found[1] == prepare(damaged, SPEC, DEFAULT_LIMITS)


def test_device_that_cannot_decode_is_reported(monkeypatch: pytest.MonkeyPatch, pool: DecodePool) -> None:
    def without(*arguments: object, **options: object) -> None:
        raise RuntimeError("torchvision not compiled with nvJPEG support")

    monkeypatch.setattr(device_decoder, "decode_jpeg", without)
    with pytest.raises(DeviceError, match="leave out --decode gpu"):
        decoded("cpu", pool, [jpeg(soft(90, 70))])


def test_device_out_of_memory_is_reported(monkeypatch: pytest.MonkeyPatch, pool: DecodePool) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(device_decoder, "decode_jpeg", full)
    with pytest.raises(DeviceError, match="smaller --batch-size"):
        decoded("cpu", pool, [jpeg(soft(90, 70))])


def test_images_decoded_by_workers_do_not_wait_for_a_batch(pool: DecodePool) -> None:
    taken = 0

    def prepared():
        nonlocal taken
        for number in range(10):
            taken += 1
            yield number, prepare(jpeg(soft(90, 70)), SPEC, DEFAULT_LIMITS)

    next(DeviceDecoder("cpu", SPEC, pool, 4).stream(prepared()))
    assert taken == 1


def test_only_plain_jpegs_are_left_encoded() -> None:
    for data in (jpeg(soft(80, 60)), jpeg(soft(80, 60, "L")), turned(1), jpeg(soft(80, 60)) + b"\0\0"):
        assert isinstance(prepare_for_gpu(data, SPEC, DEFAULT_LIMITS), Encoded)
    png = io.BytesIO()
    soft(80, 60).save(png, "PNG")
    # Rotated, with four channels, or in another format: the workers decode these.
    for data in (turned(6), turned(3), jpeg(soft(80, 60, "CMYK")), png.getvalue()):
        assert isinstance(prepare_for_gpu(data, SPEC, DEFAULT_LIMITS), Prepared)


def test_limits_hold_before_a_device_sees_anything(tmp_path: Path) -> None:
    small = ImageLimits(max_pixels=1000)
    refused = prepare_for_gpu(jpeg(soft(80, 60)), SPEC, small)
    assert isinstance(refused, Rejected)
    assert "more than the 1,000 that are allowed" in refused.reason
    assert prepare_for_gpu(str(tmp_path / "none.jpg"), SPEC, small) == Rejected("there is no such file", "missing")
    thin = prepare_for_gpu(jpeg(soft(60_000, 1)), SPEC, DEFAULT_LIMITS)
    assert isinstance(thin, Rejected)
    assert "long and thin" in thin.reason
