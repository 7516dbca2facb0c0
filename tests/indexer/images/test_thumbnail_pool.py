from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.endless import EndlessPicture

from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.images.thumbnail_pool import ThumbnailPool


@pytest.fixture
def pool() -> Iterator[ThumbnailPool]:
    made = ThumbnailPool(1, timeout=3.0, limits=ImageLimits(max_pixels=10_000))
    yield made
    made.close()


@pytest.fixture
def red(tmp_path: Path) -> str:
    path = tmp_path / "red.png"
    Image.new("RGB", (80, 40), (200, 0, 0)).save(path)
    return str(path)


def test_image_is_reduced(pool: ThumbnailPool, red: str) -> None:
    made = pool.make(red, 32).result(60)
    with Image.open(io.BytesIO(made.jpeg)) as image:
        assert (image.format, image.size) == ("JPEG", (32, 16))
    assert made.reason == ""


def test_missing_broken_or_too_large_image_has_a_reason(pool: ThumbnailPool, red: str, tmp_path: Path) -> None:
    broken, large = tmp_path / "broken.png", tmp_path / "large.png"
    broken.write_bytes(Path(red).read_bytes()[:60])
    Image.new("RGB", (101, 100)).save(large)
    for uri, reason in (
        (str(tmp_path / "gone.png"), "there is no such file"),
        (str(broken), "truncated"),
        (str(large), "101 x 100 pixels, more than the 10,000"),
        ("", "not valid UTF-8"),
    ):
        made = pool.make(uri, 32).result(60)
        assert made.jpeg == b""
        assert reason in made.reason


def test_endless_image_fails_only_itself(red: str, tmp_path: Path) -> None:
    with EndlessPicture(tmp_path / "endless.png"), contextlib.closing(ThumbnailPool(1, timeout=3.0)) as pool:
        futures = [pool.make(uri, 16) for uri in (str(tmp_path / "endless.png"), red)]
        assert futures[0].result(60).reason == "decoding took longer than 3 s"
        assert futures[1].result(60).jpeg


def test_decoder_crash_fails_only_its_image(red: str, tmp_path: Path) -> None:
    with EndlessPicture(tmp_path / "endless.png") as endless, contextlib.closing(ThumbnailPool(1)) as pool:
        stuck = pool.make(str(endless.path), 16)
        endless.wait_for_reader()
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGSEGV)
        assert stuck.result(60).reason == "the decoder crashed"
        assert pool.make(red, 16).result(60).jpeg


def test_killed_idle_worker_is_replaced(pool: ThumbnailPool, red: str) -> None:
    assert pool.make(red, 16).result(60).jpeg
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    # On a busy machine another worker takes longer to start than the timeout of an image.
    end = time.monotonic() + 60
    made = pool.make(red, 16).result(60)
    while not made.jpeg and time.monotonic() < end:
        made = pool.make(red, 16).result(60)
    assert made.jpeg, "whatever the first was answered"


def test_pending_thumbnails_are_answered_when_the_pool_closes(red: str) -> None:
    pool = ThumbnailPool(1)
    futures = [pool.make(red, 16) for _ in range(20)]
    pool.close()
    reasons = {future.result(60).reason for future in futures}
    assert reasons <= {"", "the server is stopping", "the decoder crashed"}
