"""A collection built and served by the commands that users run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[..., AbstractContextManager[str]]

HUES = {"red": 0, "yellow": 42, "green": 85, "blue": 170, "violet": 212}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five folders of twelve images, each folder noise of one hue, and one file that is no image."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(7)
    for name, hue in HUES.items():
        (folder / name).mkdir()
        for number in range(12):
            pixels = random.integers(0, 255, (64, 80, 3), dtype=np.uint8)
            pixels[..., 0] = (hue + random.integers(0, 12)) % 255
            pixels[..., 1] = pixels[..., 1] // 2 + 127
            picture = Image.fromarray(pixels, "HSV").convert("RGB")
            picture.save(folder / name / f"{number:02d}.png")
    (folder / "blue" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is not a picture")
    return folder


@pytest.fixture(scope="session")
def collection(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as a collection of a small untrained network."""
    return index_images(pictures, tmp_path_factory.mktemp("collections") / "hues", "squeezenet1_1")


def index_images(source: Path, folder: Path, model: str) -> Path:
    """Run `lookalike index` with an untrained network; return the collection's folder."""
    command = [sys.executable, "-m", "lookalike", "index", source, "--collection", folder]
    options = ["--model", model, "--weights", "untrained:3", "--clusters", "5", "--part-size", "16"]
    subprocess.run([*map(str, command), *options], check=True, capture_output=True, text=True, timeout=240)
    return folder


@contextmanager
def serve_collection(folder: Path, *options: str) -> Iterator[str]:
    """Run `lookalike serve` on a free port until the block ends; yield host:port."""
    command = [sys.executable, "-m", "lookalike", "serve", str(folder), "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        found = re.search(r"127\.0\.0\.1:\d+", line)
        if not found:
            server.kill()
            pytest.fail(f"serve said {line!r} and {server.communicate()[1]!r}")
        yield found.group()
    finally:
        server.send_signal(signal.SIGTERM)
        out, errors = server.communicate(timeout=60)
        assert server.returncode == 0, f"serve ended with {server.returncode}: {out} {errors}"


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Serve a folder: `with serve(folder) as address`."""
    return serve_collection


@pytest.fixture(scope="session")
def address(collection: Path) -> Iterator[str]:
    """The address at which the collection is served."""
    with serve_collection(collection) as found:
        yield found
