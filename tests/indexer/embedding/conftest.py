"""A folder of small images, and collections made of it with a small network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import EmbedReport, run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.progress import Silent

Embed = Callable[..., EmbedReport]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images in the folders a and b, and three files that are no images."""
    root = tmp_path / "photos"
    for number in range(20):
        paint(root / "ab"[number % 2] / f"{number:02d}.png", number)
    (root / "a" / "03-broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (root / "b" / "04-empty.png").touch()
    (root / "zz.gif").write_bytes(b"text")
    return root


@pytest.fixture
def add_photo() -> Callable[[Path, int], None]:
    """Write an image that depends only on its number."""
    return paint


def paint(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((40, 32)).save(path)


@pytest.fixture
def settings(photos: Path) -> EmbedSettings:
    """Settings with a small untrained network and small parts: the 23 files make 4 of them."""
    return EmbedSettings(
        source=str(photos),
        model="squeezenet1_1",
        weights="untrained:1",
        batch_size=4,
        part_size=7,
        workers=1,
        compute="float32",
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "collection")


@pytest.fixture
def embed(storage: Storage, settings: EmbedSettings) -> Embed:
    """Run the stage with changed settings, and publish the result."""

    def run(**changes: Any) -> EmbedReport:
        wanted = dataclasses.replace(settings, **changes)
        draft, report = run_embed(storage, generations.latest(storage), wanted, Silent())
        generations.publish(storage, draft)
        return report

    return run


@pytest.fixture
def contents() -> Callable[[Storage], dict[str, bytes]]:
    """Return the bytes of every file of a collection, except its lock."""

    def read(storage: Storage) -> dict[str, bytes]:
        paths = sorted(path for path in storage.root.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path.relative_to(storage.root)): path.read_bytes() for path in paths}

    return read


@pytest.fixture
def save_network(tmp_path: Path) -> Callable[[int], Path]:
    """Save the weights of a small network made from a seed."""

    def save(seed: int) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = torchvision.models.shufflenet_v2_x0_5(weights=None)
        path = tmp_path / f"weights-{seed}.pth"
        torch.save(module.state_dict(), path)
        return path

    return save


@pytest.fixture
def save_vit(tmp_path: Path) -> Callable[[int], Path]:
    """Save a fine-tuned vision transformer for images of a size in pixels, without its head."""

    def save(size: int) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = torchvision.models.vit_b_32(weights=None, image_size=size)
        state = {name: value for name, value in module.state_dict().items() if not name.startswith("heads.")}
        path = tmp_path / f"vit-{size}.pth"
        torch.save({"model": state}, path)
        return path

    return save
