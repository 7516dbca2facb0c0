from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.endless import EndlessPicture

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import UsageError
from lookalike_indexer.images import workers
from lookalike_indexer.images.prepare import Expected, ImageRequest, Prepared, Rejected
from lookalike_indexer.images.workers import DecodePool, PoolSettings


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Twenty images whose red level is ten times their number."""
    paths = []
    for number in range(20):
        path = tmp_path / f"{number:02d}.png"
        Image.new("RGB", (30, 40), (number * 10, 0, 0)).save(path)
        paths.append(str(path))
    return paths


def reds(results: list[Prepared | Rejected]) -> list[int | str]:
    return [int(r.pixels[0, 0, 0]) if isinstance(r, Prepared) else r.reason for r in results]


def test_keeps_the_order_and_the_facts(pictures: list[str], small_spec: PreprocessingSpec):
    bad = pictures[7]
    Path(bad).write_bytes(b"broken")
    with DecodePool(PoolSettings(2, chunk=3), small_spec) as pool:
        results = list(pool.stream(list(enumerate(pictures)), 8))
    assert [tag for tag, _ in results] == list(range(20))
    expected: list[int | str] = [10 * number for number in range(20)]
    expected[7] = "not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or HEIC image, or its beginning is damaged"
    assert reds([result for _, result in results]) == expected
    first = results[0][1]
    assert isinstance(first, Prepared)
    assert first.pixels.shape == (3, 16, 16)
    assert (first.format, first.width, first.height) == ("PNG", 30, 40)
    assert first.bytes == Path(pictures[0]).stat().st_size


def test_reads_a_bounded_number_ahead(pictures: list[str], small_spec: PreprocessingSpec):
    taken = 0

    def counted() -> Iterator[tuple[int, str]]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number, pictures[number % 20]

    with DecodePool(PoolSettings(1, chunk=2), small_spec) as pool:
        for done, _ in pool.stream(counted(), 8):
            assert taken <= done + 1 + 8
    assert taken == 200


@pytest.mark.parametrize("digest", [False, True])
def test_large_images_given_as_bytes_wait_in_smaller_numbers(
    pictures: list[str], small_spec: PreprocessingSpec, monkeypatch: pytest.MonkeyPatch, digest: bool
):
    data = Path(pictures[0]).read_bytes() + bytes(1000)
    monkeypatch.setattr(workers, "BYTES_AHEAD", 5 * len(data))
    taken = 0

    def counted() -> Iterator[tuple[int, ImageRequest]]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number, Expected(data, hashlib.sha256(data).hexdigest()) if digest else data

    with DecodePool(PoolSettings(1, chunk=2), small_spec) as pool:
        for done, (number, result) in enumerate(pool.stream(counted(), 100)):
            assert (number, isinstance(result, Prepared)) == (done, True)
            # Five images and the chunk beyond them, and the chunk of the caller.
            assert taken <= done + 1 + 6 + 2
    assert taken == 40


def test_slow_image_fails_only_itself(pictures: list[str], small_spec: PreprocessingSpec):
    with EndlessPicture(pictures[5]), DecodePool(PoolSettings(2, timeout=2.0), small_spec) as pool:
        results = [result for _, result in pool.stream(list(enumerate(pictures)), 16)]
    expected: list[int | str] = [10 * number for number in range(20)]
    expected[5] = "decoding took longer than 2 s"
    assert reds(results) == expected


def test_decoder_crash_fails_only_its_image(pictures: list[str], small_spec: PreprocessingSpec):
    def kill_whoever_reads_it(endless: EndlessPicture) -> None:
        for _ in ("with the rest of its chunk", "alone"):
            endless.wait_for_reader()
            for child in multiprocessing.active_children():
                child.kill()
                while child.is_alive():
                    time.sleep(0.01)

    with EndlessPicture(pictures[6]) as endless, DecodePool(PoolSettings(1, timeout=60.0), small_spec) as pool:
        killer = threading.Thread(target=kill_whoever_reads_it, args=[endless])
        killer.start()
        results = [result for _, result in pool.stream(list(enumerate(pictures)), 16)]
        killer.join()
    expected: list[int | str] = [10 * number for number in range(20)]
    expected[6] = "the decoder crashed"
    assert reds(results) == expected


def test_killed_idle_workers_are_replaced_and_no_image_is_lost(encode, small_spec: PreprocessingSpec):
    files = [encode(Image.new("RGB", (9, 9), (level, 0, 0)), "PNG") for level in (5, 250)]
    with DecodePool(PoolSettings(2), small_spec) as pool:
        for _ in range(2):
            assert reds(pool.prepare(files)) == [5, 250]
            for child in multiprocessing.active_children():
                child.kill()
                child.join()
        assert reds(pool.prepare(files)) == [5, 250]


def test_prepares_encoded_images(encode, small_spec: PreprocessingSpec):
    files = [encode(Image.new("RGB", (9, 9), (level, 0, 0)), "PNG") for level in (5, 250)]
    with DecodePool(PoolSettings(1, limits=ImageLimits(max_bytes=1000)), small_spec) as pool:
        results = pool.prepare([files[0], b"x" * 2000, files[1]])
    assert reds(results) == [5, "the file has 2,000 bytes, more than the 1,000 that are allowed", 250]


def test_workers_go_when_their_parent_is_killed(pictures: list[str]):
    script = """
import sys, time
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.images.workers import DecodePool, PoolSettings
if __name__ == "__main__":
    pool = DecodePool(PoolSettings(2), PreprocessingSpec(20, 16, (0.5,) * 3, (0.5,) * 3, "bilinear", True))
    print(len(list(pool.stream([(0, sys.argv[1])], 1))), flush=True)
    time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script, pictures[0]], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.kill()
        parent.communicate()
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_settings_must_make_sense():
    for settings in ({"workers": 0}, {"workers": 1, "timeout": 0}, {"workers": 1, "chunk": 0}):
        with pytest.raises(UsageError, match="at least one worker"):
            PoolSettings(**settings)


def test_pixels_equal_those_of_the_image(small_spec: PreprocessingSpec, tmp_path: Path):
    levels = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    with DecodePool(PoolSettings(1), small_spec) as pool:
        ((_, result),) = pool.stream([(None, str(tmp_path / "a.png"))], 1)
    assert isinstance(result, Prepared)
    assert np.array_equal(result.pixels, levels[2:18, 2:18].transpose(2, 0, 1))
