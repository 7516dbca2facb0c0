"""Images beyond the default limits: with higher limits, they can be queried, shown and verified."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

import lookalike as client_package
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.view import View

pytestmark = pytest.mark.xdist_group("e2e")
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three small images, and a bitmap in a file of 67 MiB, which is beyond the default limit of 64."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(3):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{number}.png")
    save_large(folder / "large.bmp", (200, 30, 60))
    return folder


def save_large(path: Path, color: tuple[int, int, int]) -> None:
    """Save a bitmap of 1.3 million pixels; zeros after the pixels make its file large."""
    Image.new("RGB", (1200, 1100), color).save(path)
    os.truncate(path, 67 << 20)


def test_large_image_is_rejected_or_searchable(photos: Path, tmp_path: Path, typed: Run, serve) -> None:
    folder = tmp_path / "collection"
    model = ["--model", "squeezenet1_1", "--weights", "untrained:1", "--workers", "1"]
    usual = typed("index", photos, "--collection", tmp_path / "usual", *model)
    assert "1 could not be embedded" in usual.stdout, usual.stderr
    made = typed("index", photos, "--collection", folder, *model, "--max-image-bytes", "100MB", "--max-pixels", "30M")
    assert made.returncode == 0, made.stderr
    reader = CollectionReader.open(str(folder))
    assert reader.manifest.limits == ImageLimits(100_000_000, 30_000_000)
    assert reader.images(["key"]).column("key").to_pylist() == ["0.png", "1.png", "2.png", "large.bmp"]
    assert Thumbnails(View(reader)).jpeg(3) is not None

    save_large(photos / "later.bmp", (0, 0, 0))
    again = json.loads(typed("embed", photos, "--collection", folder, "--json").stdout)
    assert (again["embedded"], again["rejected"]) == (1, 0)
    checked = typed("verify", folder)
    assert checked.returncode == 0, checked.stdout
    assert "no longer be decoded" not in checked.stdout

    typed("index", photos, "--collection", folder)
    data = (photos / "large.bmp").read_bytes()
    with serve(folder) as address, client_package.Client(address, timeout=120) as client:
        limits = client.server_info().limits
        assert (limits.max_image_bytes, limits.max_image_pixels) == (100_000_000, 30_000_000)
        found = client.search(images=[data], k=1)
        assert found[0].keys[0] == "large.bmp"
        assert client.thumbnails([3])[0] is not None
    with (
        serve(folder, "--max-pixels", "1M") as address,
        client_package.Client(address, timeout=120) as client,
        pytest.raises(client_package.LookalikeError, match="1,000,000 that are allowed"),
    ):
        client.search(images=[data], k=1)


def test_invalid_limits_have_a_one_sentence_error(photos: Path, tmp_path: Path, typed: Run) -> None:
    for option, value in (("--max-image-bytes", "many"), ("--max-pixels", "0"), ("--max-pixels", "5MiB")):
        done = typed("embed", photos, "--collection", tmp_path / "c", option, value)
        assert done.returncode == 2
        assert f"'{value}' is no" in done.stderr
    assert not (tmp_path / "c").exists()


def test_pillows_own_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from lookalike_indexer.images.decode import decode

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    out = io.BytesIO()
    Image.new("L", (40, 40)).save(out, "PNG")
    assert decode(out.getvalue(), ImageLimits(max_pixels=1600)).width == 40
